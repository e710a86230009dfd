"""Memory that a process has freed, and gets again."""

import ctypes
from contextlib import suppress

# The parameters of `mallopt`, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for what it needs next.

    PyTorch takes every tensor from the C library, and glibc gives one of over 32 MiB back to the kernel when it is freed.
    The kernel clears each page again that it hands out, which takes as long as the arithmetic on large tensors
    (docs/speed.md). The process stays as large as it ever was. Other C libraries are left as they are.
    """
    with suppress(AttributeError, OSError, TypeError):  # no `mallopt`
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
