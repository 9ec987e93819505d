"""Transfer: what scenes with many rows teach a scene with few.

:func:`migrate` is the whole flow; :func:`fuse`, :class:`Anchored`, :func:`carry`, :func:`fisher` and :func:`lookups`
are its parts. :func:`plan` gives the flow before it runs, so that all candidates can be looked at.
"""

from __future__ import annotations

from polyscene.transfer.flow import Candidate, Migration
from polyscene.transfer.fusing import Migrated, carry, fisher, fuse, lookups, state_of
from polyscene.transfer.migration import migrate, plan
from polyscene.transfer.stages import Anchored, rows_of

__all__ = [
    "Anchored",
    "Candidate",
    "Migrated",
    "Migration",
    "carry",
    "fisher",
    "fuse",
    "lookups",
    "migrate",
    "plan",
    "rows_of",
    "state_of",
]
