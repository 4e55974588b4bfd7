"""Run a program on what looks like a kernel without Landlock: `older_kernel.py PROGRAM ARGUMENT...`."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

_LANDLOCK = 444


def main() -> None:
    """Have the kernel answer "no such call" to Landlock from here on, and become the program."""
    lines = (
        (0x20, 0, 0, 0),  # load the number of the call
        (0x15, 0, 1, _LANDLOCK),
        (0x06, 0, 0, 0x00050000 | errno.ENOSYS),
        (0x06, 0, 0, 0x7FFF0000),
    )
    code = b"".join(struct.pack("=HBBI", *line) for line in lines)
    body = ctypes.create_string_buffer(code, len(code))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, ctypes.c_ulong(1), 0, 0, 0) == 0
    head = struct.pack("HxxxxxxP", len(lines), ctypes.addressof(body))
    assert libc.prctl(22, ctypes.c_ulong(2), head, 0, 0) == 0
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
