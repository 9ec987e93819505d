"""
Metrics of scores, overall and per scene.
"""
from __future__ import annotations
import collections.abc
import polyscene._C.data
import polyscene._C.models
import torch
import typing
__all__: list[str] = ['auc', 'behaviour', 'best_threshold', 'calibration', 'confusion', 'coverage', 'evaluate', 'evaluate_ranking', 'evaluate_scores', 'gauc', 'known_metrics', 'log_loss', 'mae', 'predict_logits', 'ranking_metrics', 'recommend', 'recommendation_reasons', 'rmse', 'roc', 'similar_items']
def auc(scores: torch.Tensor, label: torch.Tensor, weight: torch.Tensor | None = None) -> tuple[float, str]:
    """
    (area under the ROC curve, reason when undefined); ties count one half.
    """
def behaviour(history: polyscene._C.data.History, user: torch.Tensor) -> polyscene._C.data.Events:
    """
    What users did in training, one list each, oldest first.
    """
def best_threshold(scores: torch.Tensor, label: torch.Tensor, weight: torch.Tensor | None = None) -> tuple[float, str]:
    """
    (threshold on the probability with the largest F1, reason).
    """
def calibration(scores: torch.Tensor, label: torch.Tensor, weight: torch.Tensor | None = None, bins: typing.SupportsInt | typing.SupportsIndex = 10) -> tuple[list[float], list[float], list[float], tuple[float, str]]:
    """
    (mean probability, mean label and weight of each bin, (expected calibration error, reason)).
    """
def confusion(scores: torch.Tensor, label: torch.Tensor, threshold: typing.SupportsFloat | typing.SupportsIndex = 0.5, weight: torch.Tensor | None = None) -> dict[str, tuple[float, str]]:
    """
    accuracy, precision, recall and f1, each as (value, reason), from one table of counts.
    """
def coverage(scores: torch.Tensor, item: torch.Tensor, threshold: typing.SupportsFloat | typing.SupportsIndex = 0.5) -> tuple[float, str]:
    """
    (share of the items called positive, reason).
    """
def evaluate(model: polyscene._C.models.Model, table: polyscene._C.data.Table, metrics: collections.abc.Sequence[str] = [], threshold: typing.SupportsFloat | typing.SupportsIndex = 0.5) -> dict:
    """
    Metrics overall, as the mean over scenes, and for each scene.
    """
def evaluate_ranking(model: polyscene._C.models.Model, table: polyscene._C.data.Table, metrics: collections.abc.Sequence[str] = [], k: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] = [10], candidates: typing.SupportsInt | typing.SupportsIndex = 0, seed: typing.SupportsInt | typing.SupportsIndex = 0, exclude_seen: bool = True) -> dict:
    """
    Metrics of rankings, and the values of each user.
    """
def evaluate_scores(scores: torch.Tensor, label: torch.Tensor, scene: torch.Tensor, scene_names: collections.abc.Sequence[str], *, user: torch.Tensor | None = None, item: torch.Tensor | None = None, weight: torch.Tensor | None = None, metrics: collections.abc.Sequence[str] = [], threshold: typing.SupportsFloat | typing.SupportsIndex = 0.5, task: str = 'ctr') -> dict:
    """
    Metrics overall, as mean over scenes and of each scene, with reasons for undefined ones.
    """
def gauc(scores: torch.Tensor, label: torch.Tensor, user: torch.Tensor, weight: torch.Tensor | None = None) -> tuple[float, str]:
    """
    (mean AUC of the users with both classes, weighted by their rows, reason).
    """
def known_metrics(task: str) -> list[str]:
    """
    Metrics of a task.
    """
def log_loss(scores: torch.Tensor, label: torch.Tensor, weight: torch.Tensor | None = None) -> tuple[float, str]:
    """
    (mean negative log likelihood of the logits, reason).
    """
def mae(scores: torch.Tensor, label: torch.Tensor, weight: torch.Tensor | None = None) -> tuple[float, str]:
    """
    (mean absolute error, reason).
    """
def predict_logits(model: polyscene._C.models.Model, table: polyscene._C.data.Table, batch_size: typing.SupportsInt | typing.SupportsIndex = 4096) -> torch.Tensor:
    """
    Logits of every row in table order, [n].
    """
def ranking_metrics() -> list[str]:
    """
    Metrics of rankings; each is asked for with @k.
    """
def recommend(model: polyscene._C.models.Model, user: torch.Tensor, user_fields: torch.Tensor | None = None, events: polyscene._C.data.Events | None = None, scene: typing.SupportsInt | typing.SupportsIndex = -1, k: typing.SupportsInt | typing.SupportsIndex = 10, exclude_seen: bool = True) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Returns (items [U, k], scenes [U, k], scores [U, k], known [U]).
    """
def recommendation_reasons(model: polyscene._C.models.Model, user: typing.SupportsInt | typing.SupportsIndex, events: polyscene._C.data.Events | None, items: torch.Tensor, scenes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Returns (items [L], scenes [L], parts [N, L]).
    """
def rmse(scores: torch.Tensor, label: torch.Tensor, weight: torch.Tensor | None = None) -> tuple[float, str]:
    """
    (root of the mean squared error, reason).
    """
def roc(scores: torch.Tensor, label: torch.Tensor, weight: torch.Tensor | None = None, points: typing.SupportsInt | typing.SupportsIndex = 200) -> tuple[list[float], list[float], list[float], str]:
    """
    (false positive rates, true positive rates, thresholds on the logit, reason when there is no curve).
    """
def similar_items(model: polyscene._C.models.Model, item: typing.SupportsInt | typing.SupportsIndex, source: typing.SupportsInt | typing.SupportsIndex = -1, target: typing.SupportsInt | typing.SupportsIndex = -1, k: typing.SupportsInt | typing.SupportsIndex = 10) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Returns (items [n], scenes [n], scores [n]).
    """
