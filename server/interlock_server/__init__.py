"""What runs: the supervisor, the control process and the serving workers."""
