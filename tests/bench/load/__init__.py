"""The load generator: processes of plain gRPC clients that check every answer against the version it names."""
