"""Layer 1: arrays -> arrays."""
