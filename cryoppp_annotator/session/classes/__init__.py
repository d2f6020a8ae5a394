"""2D classes of a project's picks: options, boxes, the run, decisions, other programs' classes, templates."""
