"""gRPC services and channels of the server's own processes: messages live and die here."""
