"""What operators run beside a server, on the machine that has the data directory: gc, fsck."""
