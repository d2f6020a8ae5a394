"""The open project and its verbs: one step is built, committed, remembered and announced once.

Touch with care: *one transaction, then memory, then one announcement*. Every other room of the session builds on this.
"""
