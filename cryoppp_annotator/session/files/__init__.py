"""Coordinate files in and out of a project: importing, exporting, writing back what was imported, lint."""
