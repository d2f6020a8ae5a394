"""The project's picks against a map: runs, what they say of each pick, the views that a rejection would lose."""
