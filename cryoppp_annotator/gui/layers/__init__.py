"""The store drawn as napari layers."""
