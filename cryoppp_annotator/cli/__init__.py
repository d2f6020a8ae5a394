"""Layer 4: one file per sub-command."""
