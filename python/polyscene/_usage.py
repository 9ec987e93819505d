"""What a piece of work took: time by the clock, time of the processor, memory at its peak."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextlib.contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Yields an empty dict that holds, after the block, ``seconds``, ``cpu_seconds`` and, on Linux, ``peak_memory_mb``.

    ``cpu_seconds`` counts all threads of the process and nothing of other processes, also where these slow the clock
    time down. The peak is that of the whole process within the block: libraries and data count, too.

    Example:
        >>> with measured() as found:
        ...     _ = sum(range(1000))
        >>> found["seconds"] >= 0 and found["cpu_seconds"] >= 0
        True
    """
    found: dict[str, float] = {}
    fresh = _forget_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield found
    finally:
        found["seconds"] = round(time.perf_counter() - wall, 3)
        found["cpu_seconds"] = round(time.process_time() - cpu, 3)
        if fresh and (peak := _peak()) is not None:
            found["peak_memory_mb"] = round(peak, 1)


def _forget_peak() -> bool:
    try:
        _RESET.write_text("5")  # the high-water mark falls to what is used now
    except OSError:
        return False
    return True


def _peak() -> float | None:
    """Largest resident memory since the last reset, in MiB."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return None
