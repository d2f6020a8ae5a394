"""Layer 1: bytes <-> model. One file per format: sniff, read, write."""
