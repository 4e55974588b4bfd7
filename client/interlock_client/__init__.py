"""What users type: the SDK, the torch export and the interlock command."""
