"""Protocols that are not ours, in a descriptor pool of their own.

tritonclient, kserve and others register package ``inference`` in protobuf's default pool, where a second
registration raises. So nothing here touches that pool: a process can import this package and any of theirs,
in either order.
"""
