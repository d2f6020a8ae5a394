"""Layer 2: the project database."""
