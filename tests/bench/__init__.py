"""Benchmarks: real servers as processes of their own, under load from processes of their own."""
