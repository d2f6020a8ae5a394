"""2D classification: polar transform, engine, metrics, selection."""
