"""`make bench-switch`: promote and roll back under load, and look at what callers felt of it."""
