"""Qt models over the session."""
