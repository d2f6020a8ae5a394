"""Pickers propose particles, and are judged; they never edit."""
