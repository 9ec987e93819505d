"""What a child process may not do: write large files, or into folders that root alone may write into."""

from __future__ import annotations

import ctypes
import resource
import signal


def small_files(size: int) -> None:
    """A disk that is full: no file can grow beyond ``size`` bytes, and the signal that tells so is ignored."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def no_capabilities() -> None:
    """Permissions of files count for root, too."""

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

    class Data(ctypes.Structure):
        _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))

    # The bounding set first: a program that root starts would get all of it back.
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(64):
        libc.prctl(24, capability, 0, 0, 0)
    libc.capset(ctypes.byref(Header(0x20080522, 0)), (Data * 2)())


def interruptible() -> None:
    """Ctrl-C reaches the child, whatever its parent does with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
