"""Layer 2: long work with progress, cancel and a result."""
