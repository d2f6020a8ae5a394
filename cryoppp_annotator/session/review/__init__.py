"""Reviewing picks that are there: two sets compared, sets combined, the queue of likely errors and its answers.

A set is a pick set by its number, or :data:`~.sets.ACCEPTED`, whatever is accepted. Nothing here knows the screen.
"""
