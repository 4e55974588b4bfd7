"""Seccomp: the kernel refuses this process, and whatever it starts, the system calls that no model needs.

No sockets of any kind, no new processes or programs, no signals to others, no change of a file's mode, owner or times,
and none of the doors that attacks on the kernel go through. Threads of its own it may have.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_PR_SET_SECCOMP: Final = 22
_FILTER_MODE: Final = 2
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_KILL_PROCESS: Final = 0x80000000
_LOAD: Final = 0x20
_IF_EQUAL: Final = 0x15
_IF_AT_LEAST: Final = 0x35
_IF_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06
_AT_NUMBER: Final = 0
_AT_ARCHITECTURE: Final = 4
_AT_FIRST_ARGUMENT: Final = 16
"""Its lower half; both architectures are little-endian."""
_CLONE_THREAD: Final = 0x10000
_X32: Final = 0x40000000

_Numbers = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Architecture:
    audit: int
    column: int
    has_x32: bool


_ARCHITECTURES: Final = {
    "x86_64": _Architecture(0xC000003E, 0, True),
    "aarch64": _Architecture(0xC00000B7, 1, False),
}

_REFUSED: Final = {
    # The network, and what would get round a refusal of it.
    "socket": (41, 198),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # New processes and programs; `clone` is looked at below.
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    # Other processes.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "process_madvise": (440, 440),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    # What Landlock does not guard of a file.
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "truncate": (76, 45),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    # The machine.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "acct": (163, 89),
    "syslog": (103, 116),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
}
"""Numbers on x86_64 and aarch64; None where the architecture lacks the call."""
_CLONE: Final = (56, 220)
_CLONE3: Final = (435, 435)
_TO_ITSELF: Final = ((62, 129), (234, 131))
"""`kill` and `tgkill`: a process may end itself, which is how it reports a crash."""
_PRLIMIT: Final = (302, 261)


def is_known(machine: str = "") -> bool:
    """Say whether the system calls of this machine's architecture are known here."""
    return (machine or platform.machine()) in _ARCHITECTURES


def install() -> None:
    """Put the filter up for good; needs no_new_privs. Raises OSError."""
    code = program(platform.machine(), os.getpid())
    body = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(body))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_FILTER_MODE), head, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp did not take the filter: {os.strerror(number)}")


def program(machine: str, pid: int) -> bytes:
    """Return the filter as the kernel's instructions; raises KeyError for an architecture that is not known."""
    here = _ARCHITECTURES[machine]
    lines = [
        _line(_LOAD, _AT_ARCHITECTURE),
        *(_line(_IF_EQUAL, here.audit, 1, 0), _line(_RETURN, _KILL_PROCESS)),
        _line(_LOAD, _AT_NUMBER),
    ]
    if here.has_x32:
        lines += [_line(_IF_AT_LEAST, _X32, 0, 1), _line(_RETURN, _ERRNO | errno.EPERM)]
    for numbers in _REFUSED.values():
        number = numbers[here.column]
        if number is not None:
            lines += [_line(_IF_EQUAL, number, 0, 1), _line(_RETURN, _ERRNO | errno.EPERM)]
    # Its flags lie in memory, where no filter sees them; the C library then takes `clone`.
    lines += [_line(_IF_EQUAL, _CLONE3[here.column], 0, 1), _line(_RETURN, _ERRNO | errno.ENOSYS)]
    lines += _unless(_CLONE[here.column], _line(_IF_ANY_BIT, _CLONE_THREAD, 0, 1))
    for call in _TO_ITSELF:
        lines += _unless(call[here.column], _line(_IF_EQUAL, pid, 0, 1))
    lines += _unless(_PRLIMIT[here.column], _line(_IF_EQUAL, 0, 0, 1))
    return b"".join((*lines, _line(_RETURN, _ALLOW)))


def _unless(number: int, test: bytes) -> list[bytes]:
    """Refuse a system call unless its first argument passes a test, which skips one line where it fails."""
    return [
        _line(_IF_EQUAL, number, 0, 4),
        *(_line(_LOAD, _AT_FIRST_ARGUMENT), test),
        *(_line(_RETURN, _ALLOW), _line(_RETURN, _ERRNO | errno.EPERM)),
    ]


def _line(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
