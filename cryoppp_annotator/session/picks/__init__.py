"""Picks that a machine proposes: pickers on the project's micrographs, and learning from decisions."""
