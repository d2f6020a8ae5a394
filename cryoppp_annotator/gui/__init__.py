"""Layer 4: everything that knows Qt or napari."""
