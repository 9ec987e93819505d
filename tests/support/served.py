"""What tests of recommending share: trained models, and what they and the training rows say by name."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import torch

RANKING = [name for name in ps.models.list("ranking") if name != "specialist"]  # that is in transfer/test_rankings.py
PAIRS_ALONE = {"neu_mf", "dtcdr", "deep_apf", "natr", "co_net", "uni_cdr"}  # they need the row of a user


def fitted(name: str, data: Any, epochs: int = 3, **options: Any) -> Any:
    ps.seed_everything(3)
    model = ps.models.create(name, data.schema, **options)
    ps.Trainer(epochs=epochs, batch_size=64, lr=1e-2, seed=3, threads=1).fit(model, data)
    return model.eval()


def met(data: Any, user: int) -> list[tuple[str, str]]:
    """Items and scenes of a user's training rows."""
    ids, scenes = data.schema.categorical[1].ids, data.schema.scenes
    columns = (data.train.users(), data.train.items(), data.train.scenes())
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return sorted({(ids[i - 2], scenes[s]) for u, i, s in rows if u == user})


def scores_of(found: Any) -> dict[str, float]:
    return {item: score for item, score in zip(found.items[0], found.scores[0].tolist(), strict=True) if item}


def own_scores(model: Any, data: Any, user: int, scene: int) -> dict[str, float]:
    items = torch.tensor(inside(data, scene))
    with torch.no_grad():
        model.encode()
        values = model.score_items(torch.tensor([user]), scene, items)[0].tolist()
    return dict(zip((data.schema.categorical[1].ids[i - 2] for i in items.tolist()), values, strict=True))


def inside(data: Any, scene: int) -> list[int]:
    return sorted(set(data.train.items()[data.train.scenes() == scene].tolist()))
