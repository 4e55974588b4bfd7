"""`interlock bench`: load on a model from processes of their own, and what it found. Nothing here is public API."""
