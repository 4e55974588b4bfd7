"""What exists: the registry, its store, the artifact store and the model tool."""
