"""Whose signatures count: the file of trusted keys, and what follows from it."""
