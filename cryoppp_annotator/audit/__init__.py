"""Judging labels that are there already: how two sets differ, which labels are likely wrong, how many are missing.

Arrays to arrays, without a project, a file or a screen. It uses the pickers; nothing below knows it.
"""
