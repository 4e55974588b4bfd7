"""Processes that race each other over one registry: directly, or as clients of one server. `make races` runs them."""
