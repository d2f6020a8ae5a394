"""Panels of the window, one a file: what a tab or a dock shows."""
