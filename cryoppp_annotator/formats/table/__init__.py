"""What formats share: rows, columns, entries, STAR and .cs tables, and edits in place."""
