"""Panels, one a file."""
