"""A caller's memory on a GPU: made, filled, looked at, and told to others by a handle."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from interlock.types import Array

_TO_DEVICE, _FROM_DEVICE = 1, 2


def plain_library(folder: Path) -> Path:
    """Compile what stands in for NVIDIA's libraries; fails where there is no C compiler."""
    made = folder / "libplain-cuda.so"
    source = Path(__file__).with_name("plain.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", made, source], check=True, timeout=60)
    return made


class Allocation:
    """Memory of this process on GPU 0; a context manager that frees it."""

    def __init__(self, runtime: ctypes.CDLL, size: int) -> None:
        self._runtime = runtime
        self._address = ctypes.c_void_p()
        self._checked(runtime.cudaSetDevice(0))
        self._checked(runtime.cudaMalloc(ctypes.byref(self._address), ctypes.c_size_t(size)))
        packed = (ctypes.c_ubyte * 64)()
        self._checked(runtime.cudaIpcGetMemHandle(packed, self._address))
        self.handle = bytes(packed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._checked(self._runtime.cudaFree(self._address))

    def put(self, values: Array, offset: int = 0) -> None:
        """Copy an array in."""
        to, size = ctypes.c_void_p((self._address.value or 0) + offset), ctypes.c_size_t(values.nbytes)
        self._checked(self._runtime.cudaMemcpy(to, ctypes.c_void_p(values.ctypes.data), size, _TO_DEVICE))
        self._checked(self._runtime.cudaStreamSynchronize(None))

    def floats(self, count: int, offset: int = 0) -> Array:
        """Copy FP32 values out."""
        here = np.empty(count, np.float32)
        at, size = ctypes.c_void_p((self._address.value or 0) + offset), ctypes.c_size_t(here.nbytes)
        self._checked(self._runtime.cudaMemcpy(ctypes.c_void_p(here.ctypes.data), at, size, _FROM_DEVICE))
        return here

    def _checked(self, code: int) -> None:
        if code:
            raise RuntimeError(f"CUDA says {code}")
