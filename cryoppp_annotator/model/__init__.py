"""Nouns: frozen dataclasses and pure functions. No file, no thread, no Qt."""
