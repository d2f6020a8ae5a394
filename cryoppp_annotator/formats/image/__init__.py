"""Micrographs, stacks and pictures: files to arrays and back."""
