"""Every system call of a change as a moment to crash or to fail at, and what must be so after it."""
