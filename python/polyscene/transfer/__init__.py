"""Transfer: what scenes with many rows teach a scene with few.

:func:`migrate` is the whole flow, by any of the mechanisms that :func:`mechanisms` lists; :func:`plan` gives the flow
before it runs, so that all candidates can be looked at. Each mechanism stands alone as well: classes around a model
that trains (:class:`Anchored`, :class:`FineTuned`, :class:`LowRank`, :class:`Consolidated`, :class:`Distilled`,
:class:`Aligned`, :class:`PseudoLabelled`, :class:`MeanTeacher`, :class:`Balanced`), models that hold a frozen one
(:func:`adapted`, :func:`side_tuned`), and starts (:func:`fuse`, :func:`add_tasks`, :func:`warm_start`).
"""

from __future__ import annotations

from polyscene.transfer._mechanisms import Mechanism, mechanisms
from polyscene.transfer.aligning import Aligned, Balanced
from polyscene.transfer.continuing import Consolidated, FineTuned, LowRank, consolidate
from polyscene.transfer.distances import cka, distance_frame, layer_distances
from polyscene.transfer.estimating import Estimate, negative_transfer, represented, transferability
from polyscene.transfer.flow import Candidate, Migration
from polyscene.transfer.fusing import Migrated, carry, fisher, fuse, lookups, state_of
from polyscene.transfer.labels import few_labels
from polyscene.transfer.migration import migrate, plan
from polyscene.transfer.parts import adapted, digest, load_part, save_part, side_tuned
from polyscene.transfer.stages import Anchored, rows_of
from polyscene.transfer.starting import add_tasks, learn_weights, recompute_statistics, warm_start
from polyscene.transfer.teaching import Distilled, MeanTeacher, PseudoLabelled, prior_shift

__all__ = [
    "Aligned",
    "Anchored",
    "Balanced",
    "Candidate",
    "Consolidated",
    "Distilled",
    "Estimate",
    "FineTuned",
    "LowRank",
    "MeanTeacher",
    "Mechanism",
    "Migrated",
    "Migration",
    "PseudoLabelled",
    "adapted",
    "add_tasks",
    "carry",
    "cka",
    "consolidate",
    "digest",
    "distance_frame",
    "few_labels",
    "fisher",
    "fuse",
    "layer_distances",
    "learn_weights",
    "load_part",
    "lookups",
    "mechanisms",
    "migrate",
    "negative_transfer",
    "plan",
    "prior_shift",
    "recompute_statistics",
    "represented",
    "rows_of",
    "save_part",
    "side_tuned",
    "state_of",
    "transferability",
    "warm_start",
]
