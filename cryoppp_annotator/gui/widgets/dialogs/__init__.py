"""Questions that only a person can answer, one a file."""
