"""Who may call what: one table of rules, and the gate that every listener asks. Knows neither gRPC nor HTTP."""
