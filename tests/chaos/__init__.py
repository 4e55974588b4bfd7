"""Faults put into a whole server that works, and hours of switches and kills: `make chaos`, `make soak`."""
