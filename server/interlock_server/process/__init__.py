"""Processes: the supervisor and what every child does first. Standard library only."""
