"""What the tests of models that score pairs of a user and an item share: loops to compare with, and checks."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polyscene as ps
import pytest
import torch

Score = Callable[[dict[str, np.ndarray], int, int, int], float]  # state, user, item, scene


class Known:
    """The training pairs of each scene."""

    def __init__(self, data: Any) -> None:
        batch = data.train.batch(torch.arange(len(data.train)))
        self.scenes = len(data.schema.scenes)
        self.items: list[dict[int, list[int]]] = [{} for _ in range(self.scenes)]
        self.visitors: list[dict[int, list[int]]] = [{} for _ in range(self.scenes)]
        for u, i, s in sorted(zip(batch.user.tolist(), batch.item.tolist(), batch.scene.tolist(), strict=True)):
            if i not in self.items[s].setdefault(u, []):
                self.items[s][u].append(i)
                self.visitors[s].setdefault(i, []).append(u)

    def elsewhere(self, user: int, scene: int) -> list[int]:
        """Other scenes where a user has rows."""
        return [t for t in range(self.scenes) if t != scene and user in self.items[t]]


def without_overlap(data: Any) -> Any:
    """Training rows of `data` that share no user and no item between scenes, as a table."""
    batch = data.train.batch(torch.arange(len(data.train)))
    chosen = (batch.user % 3 == batch.scene) & (batch.item % 3 == batch.scene)
    table = data.train.take(chosen.nonzero()[:, 0])
    table.history = ps.data.History.fit(table)
    return table


class SomeAlone:
    """Training rows of `data` where every third user is in one scene alone."""

    def __init__(self, data: Any) -> None:
        batch = data.train.batch(torch.arange(len(data.train)))
        alone = batch.user % 3 == 0
        self.schema = data.schema
        self.train = data.train.take((~alone | (batch.scene == batch.user // 3 % 3)).nonzero()[:, 0])
        self.train.history = ps.data.History.fit(self.train)


class ManyScenes:
    """Small data of `count` scenes (one does), where each user is in half of them."""

    def __init__(self, count: int, users: int = 20, items: int = 12) -> None:
        draw = np.random.default_rng(count)
        rows = [
            (f"u{u}", f"i{i}", f"s{s:02}")
            for s in range(count)
            for u in range(users)
            if count == 1 or (u + s) % 2
            for i in draw.choice(items, 3, False)
        ]
        frame = pd.DataFrame(rows, columns=["user_id", "item_id", "scene"])
        held_out = frame.groupby("scene").head(2)
        self.data = ps.read_table(train=frame, test=held_out, task="ranking", label=None)
        self.schema, self.train, self.test = self.data.schema, self.data.train, self.data.test


def few_rows(scenes: int, disjoint: bool, folder: Path) -> Any:
    """Data of files with 40 training rows a scene, of 12 users and 9 items; with `disjoint` scenes share none."""
    draw = np.random.default_rng(3)
    paths: dict[str, dict[str, str]] = {"train": {}, "test": {}}
    for part, rows in (("train", 40), ("test", 8)):
        for s in range(scenes):
            prefix = f"{s}-" if disjoint else ""
            users, items = draw.integers(0, 12, rows), draw.integers(0, 9, rows)
            lines = [f"u{prefix}{u},i{prefix}{i}" for u, i in zip(users, items, strict=True)]
            path = folder / f"{part}-{s}.csv"
            path.write_text("user_id,item_id\n" + "\n".join(lines) + "\n")
            paths[part][f"s{s}"] = str(path)
    return ps.read_table(**paths, task="ranking", label=None, user="user_id", item="item_id")


def random_model(name: str, data: Any, **options: Any) -> ps.Model:
    """A prepared model in double precision whose parameters are moved away from their start."""
    torch.manual_seed(2)
    model = ps.models.create(name, data.schema, **options)
    model.prepare(data.train)
    model = model.double()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3)
    return model


def state_of(model: ps.Model) -> dict[str, np.ndarray]:
    return {path: tensor.detach().numpy() for path, tensor in model.state_dict().items()}


def tower(state: dict[str, np.ndarray], name: str, x: np.ndarray, scene: int = 0, expert: int = 0) -> float:
    """A tower with one output on one row."""
    layer = 0
    while f"{name}.layer{layer}_weight" in state:
        w, b = (state[f"{name}.layer{layer}_{kind}"][scene, expert] for kind in ("weight", "bias"))
        x = np.maximum(w @ x + b, 0)
        layer += 1
    return float((state[f"{name}.output_weight"][scene, expert] @ x + state[f"{name}.output_bias"][scene, expert])[0])


def slow_loss(kind: str, own: float, drawn: list[float]) -> float:
    """The loss of one row."""
    if kind == "bpr":
        return float(np.mean([math.log1p(math.exp(x - own)) for x in drawn]))
    labels = [1.0] + [0.0] * len(drawn)
    if kind == "mse":
        return float(np.mean([(x - y) ** 2 for x, y in zip([own, *drawn], labels, strict=True)]))
    return float(np.mean([math.log1p(math.exp(-x if y else x)) for x, y in zip([own, *drawn], labels, strict=True)]))


def check_scores(model: ps.Model, data: Any, score: Score, *, train_loss: bool = True) -> None:
    """Forward, ranking scores and loss against loops over pairs."""
    state = state_of(model)
    options = model.options
    batch = ps.testing.batch(data, 24, seed=3, negatives=options["negatives"])
    batch.user[1] = 0  # an unknown user, and an unknown item
    batch.item[2] = 0
    model.eval()
    users, items, scenes = (x.tolist() for x in (batch.user, batch.item, batch.scene))
    rows = list(zip(users, items, scenes, strict=True))
    expected = [score(state, u, i, s) for u, i, s in rows]
    assert model(batch).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)

    losses = [
        slow_loss(options["loss"], own, [score(state, u, j, s) for j in drawn])
        for (u, _, s), own, drawn in zip(rows, expected, batch.negative.tolist(), strict=True)
    ]
    assert model.loss(batch).item() == pytest.approx(np.mean(losses), rel=1e-8)
    if train_loss:
        assert model.train().loss(batch).item() == pytest.approx(np.mean(losses), rel=1e-8)
    model.eval()
    model.encode()
    few_users, few_items = torch.tensor(sorted({0, *users[:6]})), torch.tensor(sorted({0, *items}))
    for s in range(len(data.schema.scenes)):
        with torch.no_grad():
            got = model.score_items(few_users, s, few_items)
        want = [[score(state, u, i, s) for i in few_items.tolist()] for u in few_users.tolist()]
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-8, atol=1e-9)


def check_scenes(name: str, score_of: Callable[[Known], Score], **options: Any) -> None:
    """One scene, and 17 of them."""
    for count in (1, 17):
        data = ManyScenes(count)
        model = random_model(name, data, **options)
        check_scores(model, data, score_of(Known(data)), train_loss=False)
        ps.Trainer(epochs=1, batch_size=64, threads=1).fit(model.float(), data.train)


def check_slope(model: ps.Model, loss: Callable[[], torch.Tensor], step: float, rel: float) -> None:
    """The gradient of `loss` by all parameters, float64, along one random direction, against a difference."""
    loss().backward()
    generator = torch.Generator().manual_seed(2)
    directions = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in model.parameters()]
    slope = sum((p.grad * d).sum().item() for p, d in zip(model.parameters(), directions, strict=True))
    ends = []
    with torch.no_grad():
        for sign in (1, -2):
            for p, d in zip(model.parameters(), directions, strict=True):
                p.add_(d, alpha=sign * step)
            ends.append(loss().item())
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=rel)
    assert all(p.grad.abs().max() > 0 for p in model.parameters())


def check_training(model: ps.Model, data: Any) -> None:
    """About twenty steps of the trainer lower the loss of rows that it trained on, with the same noise and dropout."""
    batch = data.train.batch(torch.arange(min(len(data.train), 60)), negatives=model.options["negatives"])

    def loss() -> float:
        torch.manual_seed(1)
        return model.train().loss(batch).item()

    before = loss()
    epochs = -(-20 // len(data.schema.scenes))
    ps.Trainer(epochs=epochs, lr=0.01, batch_size=64, seed=1).fit(model, data.train)
    assert loss() < before - 0.01


def check_learns_and_loads(model: ps.Model, data: Any, folder: Path, lr: float) -> None:
    """Training beats popularity on test rows, and a file gives back the same scores."""
    ps.Trainer(epochs=30, lr=lr, batch_size=128, seed=1).fit(model, data)
    popularity = ps.models.Popularity(data.schema)
    ps.Trainer().fit(popularity, data)
    ours, theirs = ps.evaluate(model, data.test), ps.evaluate(popularity, data.test)
    assert ours.overall["ndcg@10"] > theirs.overall["ndcg@10"]
    check_file(model, data.test.batch(torch.arange(len(data.test))), folder)


def check_file(model: ps.Model, batch: Any, folder: Path) -> None:
    """What is saved and loaded again scores a batch to the same bits."""
    ps.save(model, folder / "model")
    again = ps.load(folder / "model").eval()
    assert torch.equal(again(batch), model.eval()(batch))


def check_few_rows(model: ps.Model, data: Any, rows: int) -> None:
    """Scores and losses of batches of so many rows, 0 too."""
    batch = ps.testing.batch(data, 4).take(list(range(rows)))
    assert model(batch).shape == (rows,)
    assert model.loss(batch).isfinite()
    assert model.loss(data.train.batch(torch.arange(rows))).isfinite()


def check_penalty(make: Callable[..., ps.Model], data: Any, tables: Callable[[Any], float]) -> None:
    """`tables(batch)`: the sum of squares of the factors that the batch looks up, all of whose numbers are 1."""
    plain, penalised = make(embedding_l2=0.0), make(embedding_l2=0.2)
    for model in (plain, penalised):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(1)
    batch = ps.testing.batch(data, 10, negatives=plain.options["negatives"])
    extra = penalised.loss(batch).item() - plain.loss(batch).item()
    assert extra == pytest.approx(0.5 * 0.2 * tables(batch) / 10, rel=1e-5)
