"""The control process: admin gRPC, HTTP, and the reconciler between the registry and the workers."""
