"""Layer 3: the application without a screen."""
