"""Work from files to files, hardly ever a project: what the command line runs, and what a script may call."""
