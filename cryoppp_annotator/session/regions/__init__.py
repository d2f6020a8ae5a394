"""Carbon, ice and contamination of a project: drawn, detected, and what is done with the picks in them."""
