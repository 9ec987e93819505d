"""UniCDR against loops over users and their items."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pair_models as pairs
import polyscene as ps
import pytest
import torch

AGGREGATORS = ["mean", "attention", "similarity"]


def ease(known: pairs.Known, scene: int, l2: float) -> dict[tuple[int, int], float]:
    """Weights of EASE between the items of a scene, by the inverse of the whole matrix."""
    items = sorted(known.visitors[scene])
    x = np.zeros((len(known.items[scene]), len(items)))
    for row, met in enumerate(known.items[scene].values()):
        x[row, [items.index(i) for i in met]] = 1
    inverse = np.linalg.inv(x.T @ x + l2 * np.eye(len(items)))
    b = -inverse / np.diag(inverse)
    return {(k, j): max(b[m, n], 0.0) for m, k in enumerate(items) for n, j in enumerate(items) if k != j}


class Slow:
    """The parts of users, a loop over items each."""

    def __init__(self, known: pairs.Known, model: ps.Model) -> None:
        self.known, self.options, self.state = known, model.options, pairs.state_of(model)
        self.prior = [ease(known, s, self.options["prior_l2"]) for s in range(known.scenes)]
        self.everyone = {u for where in known.items for u in where}

    def table(self, name: str) -> np.ndarray:
        table = self.state[f"{name}.weight"]
        return table.reshape(self.known.scenes, -1, table.shape[1])

    def context(self, u: int, scenes: list[int], without: tuple[int, int]) -> list[tuple[int, int]]:
        entries = [(t, i) for t in scenes for i in sorted(self.known.items[t].get(u, []))]
        length = self.options["scored_length"]
        if len(entries) > length:
            entries = [entries[k * len(entries) // length] for k in range(length)]
        return [entry for entry in entries if entry != without]

    def told(self, x: np.ndarray, entries: list[tuple[int, int]], kind: str, at: int) -> np.ndarray:
        if not entries:
            return np.zeros_like(x)
        q = [self.table("item")[t, i] for t, i in entries]
        logits = [0.0] * len(q)
        if self.options["aggregator"] == "attention":
            a, b = self.state[f"{kind}_attention"][at], self.state[f"{kind}_attention_bias"][at]
            logits = [float(x @ np.tanh(a @ v + b)) for v in q]
        if self.options["aggregator"] == "similarity":
            predicted = [
                sum(self.prior[t].get((k, j), 0.0) for r, k in entries if r == t and k != j) for t, j in entries
            ]
            kept = [p if p >= self.options["prior_floor"] else 0.0 for p in predicted]
            logits = [p / max(sum(kept), 1e-12) for p in kept]
        weights = [math.exp(value) for value in logits]
        return sum(w * v for w, v in zip(weights, q, strict=True)) / sum(weights)

    def parts(self, u: int, i: int, s: int) -> tuple[np.ndarray, np.ndarray]:
        a = self.options["id_share"]
        zero = np.zeros(self.state["shared.weight"].shape[1])
        own = shared = zero
        if u in self.known.items[s]:
            x = self.table("user")[s, u]
            own = a * x + (1 - a) * self.state["specific_map"][s] @ self.told(
                x, self.context(u, [s], (s, i)), "specific", s
            )
        if u in self.everyone:
            x = self.state["shared.weight"][u]
            others = self.context(u, [t for t in range(self.known.scenes) if t != s], (-1, -1))
            shared = a * x + (1 - a) * self.state["shared_map"][0] @ self.told(x, others, "shared", 0)
        return own, shared

    def score(self, u: int, i: int, s: int) -> float:
        own, shared = self.parts(u, i, s)
        return float((own + shared) @ self.table("item")[s, i])

    def loss(self, batch: Any) -> float:
        bce = lambda z, y: math.log1p(math.exp(-z if y else z))  # noqa: E731
        rows = list(zip(*(x.tolist() for x in (batch.user, batch.item, batch.scene, batch.negative)), strict=True))
        made = [self.parts(u, i, s) for u, i, s, _ in rows]
        c, out = self.options["contrast"], []
        for b, (u, i, s, drawn) in enumerate(rows):
            own, shared = made[b]
            z = [float((own + shared) @ self.table("item")[s, j]) for j in [i, *drawn]]
            if self.options["loss"] == "bce":
                ranked = bce(z[0], 1) + np.mean([bce(x, 0) for x in z[1:]])
            else:
                ranked = pairs.slow_loss(self.options["loss"], z[0], z[1:])
            contrast = 0.0
            if c > 0:
                same = [r for r, row in enumerate(rows) if row[2] == s]
                v = same[(same.index(b) + 1) % len(same)]
                m, bias = self.state["critic"][s], self.state["critic_bias"][s]
                contrast = bce(float(own @ m @ shared + bias), 1)
                if rows[v][0] != u:
                    contrast += bce(float(made[v][0] @ m @ shared + bias), 0)
            out.append((1 - c) * ranked + c * contrast)
        return float(np.mean(out))


def check(model: ps.Model, data: Any, *, whole: bool = True) -> None:
    """Forward, rankings and loss; `whole`: contexts in training leave nothing out."""
    slow = Slow(pairs.Known(data), model)
    batch = ps.testing.batch(data, 24, seed=3, negatives=model.options["negatives"])
    batch.user[1] = 0  # an unknown user, and an unknown item
    batch.item[2] = 0
    rows = list(zip(batch.user.tolist(), batch.item.tolist(), batch.scene.tolist(), strict=True))
    model.eval()
    rel = 1e-5 if model.options["aggregator"] == "similarity" else 1e-9  # EASE is solved in single precision
    assert model(batch).tolist() == pytest.approx([slow.score(*row) for row in rows], rel=rel, abs=rel / 10)
    assert model.loss(batch).item() == pytest.approx(slow.loss(batch), rel=rel)
    if whole:
        assert model.train().loss(batch).item() == pytest.approx(slow.loss(batch), rel=rel)
        model.eval()
    model.encode()
    users, items = (torch.tensor(sorted({0, *x.tolist()})) for x in (batch.user[:8], batch.item))
    for s in range(len(data.schema.scenes)):
        with torch.no_grad():
            got = model.score_items(users, s, items)
        want = [[slow.score(u, i, s) for i in items.tolist()] for u in users.tolist()]
        np.testing.assert_allclose(got.numpy(), want, rtol=rel, atol=rel / 10)


def small(data: Any, **options: Any) -> ps.Model:
    defaults = {"dim": 4, "dropout": 0.0, "mask": 0.0, "max_length": 100, "prior_l2": 2.0}
    return pairs.random_model("uni_cdr", data, **(defaults | options))


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss": "bpr", "negatives": 3},
        {"loss": "mse", "negatives": 1, "contrast": 0.0},
        {"id_share": 0.2, "contrast": 0.3, "prior_floor": 0.0},
    ],
)
def test_matches_loops(data: Any, aggregator: str, options: dict[str, Any]) -> None:
    check(small(data, aggregator=aggregator, **options), data)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_long_contexts_are_spread_evenly(data: Any, aggregator: str) -> None:
    check(small(data, aggregator=aggregator, scored_length=3), data, whole=False)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@pytest.mark.parametrize("count", [1, 17])
def test_one_scene_and_many(aggregator: str, count: int) -> None:
    data = pairs.ManyScenes(count)
    model = small(data, dim=3, aggregator=aggregator)
    check(model, data)
    ps.Trainer(epochs=1, batch_size=64, threads=1).fit(model.float(), data.train)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_without_overlap_and_with_users_of_one_scene(data: Any, aggregator: str) -> None:
    some = pairs.SomeAlone(data)
    check(small(some, aggregator=aggregator), some)
    table = pairs.without_overlap(data)
    apart = type("Apart", (), {"schema": data.schema, "train": table})()
    check(small(apart, aggregator=aggregator), apart)


def test_the_similarity_is_that_of_ease() -> None:
    """More users than items, and fewer: the two sides on which the closed form is solved."""
    for users, items in ((40, 9), (8, 30)):
        data = pairs.ManyScenes(2, users, items)
        model = small(data, aggregator="similarity", prior_floor=0.0)
        known = pairs.Known(data)
        assert all((len(known.items[s]) < len(known.visitors[s])) == (users < items) for s in range(2))
        assert any(value > 0.01 for s in range(2) for value in ease(known, s, 2.0).values())
        check(model, data)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@pytest.mark.parametrize("training", [False, True])
def test_an_item_does_not_tell_of_itself(data: Any, aggregator: str, training: bool) -> None:
    # A score is linear in the item's vector only when the user's part does not read it.
    model = small(data, aggregator=aggregator, mask=0.1, max_length=4).train(training)
    batch = data.train.batch(torch.arange(30), negatives=1)
    items = len(model.item.weight) // 3
    for row in range(0, 30, 5):
        one = batch.take([row])
        torch.manual_seed(row)
        before = model(one)
        at = one.scene * items + one.item
        with torch.no_grad():
            model.item.weight[at] *= 2
        torch.manual_seed(row)
        torch.testing.assert_close(model(one), before * 2)
        with torch.no_grad():
            model.item.weight[at] /= 2


@pytest.mark.parametrize("training", [False, True])
def test_the_shared_part_reads_other_scenes_alone(data: Any, training: bool) -> None:
    model = small(data, aggregator="attention", mask=0.1, max_length=4).train(training)
    with torch.no_grad():
        model.user.weight.zero_()
        model.specific_map.zero_()  # the specific part is 0
    batch = data.train.batch(torch.arange(40), negatives=1)
    rows = len(model.item.weight) // 3
    here = batch.take((batch.scene == 1).nonzero()[:, 0][:1])
    torch.manual_seed(0)
    before = model(here)
    own, others = model.item.weight.view(3, rows, -1)[1], model.item.weight.view(3, rows, -1)[[0, 2]]
    with torch.no_grad():
        kept = own[here.item].clone()
        own.normal_()
        own[here.item] = kept
    torch.manual_seed(0)
    assert torch.equal(model(here), before)
    with torch.no_grad():
        model.item.weight.view(3, rows, -1)[[0, 2]] = others + 1
    torch.manual_seed(0)
    assert not torch.equal(model(here), before)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_a_cold_user_is_ranked_by_other_scenes(data: Any, aggregator: str) -> None:
    some = pairs.SomeAlone(data)
    model = small(some, aggregator=aggregator).eval()
    known = pairs.Known(some)
    user = next(u for u in sorted(known.items[0]) if u not in known.items[1])
    users, items = torch.tensor([user]), torch.arange(2, len(model.item.weight) // 3)
    rows = len(model.user.weight) // 3
    before = model.score_items(users, 1, items)
    assert before.abs().max() > 0
    with torch.no_grad():
        model.user.weight[rows + user] = 100.0
    assert torch.equal(model.score_items(users, 1, items), before)
    with torch.no_grad():
        model.item.weight[known.items[0][user][0]] += 1
    assert not torch.equal(model.score_items(users, 1, items), before)


def test_before_it_is_prepared_vectors_alone_count(data: Any) -> None:
    model = ps.models.UniCDR(data.schema, dim=4).double().eval()
    batch = ps.testing.batch(data, 12)
    rows = [len(model.user.weight) // 3, len(model.item.weight) // 3]
    with torch.no_grad():
        x = model.user.weight[batch.scene * rows[0] + batch.user] + model.shared.weight[batch.user]
        expected = 0.5 * (x * model.item.weight[batch.scene * rows[1] + batch.item]).sum(1)
        torch.testing.assert_close(model(batch), expected)


def test_contexts_are_samples_of_torchs_generator(data: Any) -> None:
    model = small(data, max_length=2, mask=0.1)
    batch = data.train.batch(torch.arange(60), negatives=10)
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses.append(model.train().loss(batch).item())
    assert losses[0] == losses[1] != losses[2]
    assert model.eval().loss(batch).item() == model.loss(batch).item()


def test_training_contexts_have_the_expected_length(data: Any) -> None:
    """With every vector 1 a context counts: the chance of an empty one is that of the mask."""
    known = pairs.Known(data)
    user, s = next((u, s) for s in range(3) for u, met in known.items[s].items() if len(met) == 2)
    model = small(data, mask=0.25, id_share=0.0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1)
        model.shared_map.zero_()
    everything = data.train.batch(torch.arange(len(data.train)))
    row = ((everything.user == user) & (everything.scene == s)).nonzero()[0]
    batch = data.train.batch(row.expand(2000))
    torch.manual_seed(5)
    full = model.train()(batch) / (4 * 4)  # 1 with the one item that is left, 0 without
    assert set(full.tolist()) == {0.0, 1.0}
    assert full.mean().item() == pytest.approx(0.75, abs=0.04)


def test_the_shared_part_joins_after_the_warm_up(data: Any, tmp_path: Any) -> None:
    torch.manual_seed(0)
    model = ps.models.UniCDR(data.schema, dim=4, warm_up=2, aggregator="attention")
    assert [phase.name for phase in model.phases()] == ["specific", "fit"]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen: list[dict[str, torch.Tensor]] = []

    class Watch:
        def on_epoch(self, row: dict[str, Any]) -> None:
            seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})

    history = ps.Trainer(epochs=2, batch_size=64, lr=0.01, patience=0, threads=1).fit(
        model, data.train, callbacks=Watch()
    )
    assert [line["phase"] for line in history] == ["specific"] * 2 + ["fit"] * 2
    late = {name for name in before if name.startswith(("shared", "critic"))}
    for name in late:
        assert torch.equal(seen[1][name], before[name])
        assert not torch.equal(seen[3][name], before[name])
    assert not torch.equal(seen[0]["user.weight"], before["user.weight"])
    assert (seen[1]["joined"], seen[2]["joined"], model.joined) == (0, 1, 1)
    ps.save(model, tmp_path / "uni_cdr")
    other = ps.load(tmp_path / "uni_cdr")
    batch = ps.testing.batch(data, 20)
    assert torch.equal(model.eval()(batch), other.eval()(batch))


def test_penalty(data: Any) -> None:
    plain, penalised = (small(data, embedding_l2=r, contrast=0.0) for r in (0.0, 0.2))
    batch = data.train.batch(torch.arange(10), negatives=10)
    users, items = len(plain.user.weight) // 3, len(plain.item.weight) // 3
    squares = (
        plain.user.weight[batch.scene * users + batch.user].square().sum()
        + plain.shared.weight[batch.user].square().sum()
        + plain.item.weight[batch.scene * items + batch.item].square().sum()
        + plain.item.weight[batch.scene[:, None] * items + batch.negative].square().sum()
    )
    extra = penalised.eval().loss(batch).item() - plain.eval().loss(batch).item()
    assert extra == pytest.approx(0.1 * squares.item() / 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aggregator": "sum"}, "UniCDR: aggregator must be 'mean', 'attention' or 'similarity', got 'sum'"),
        ({"max_length": 0}, "UniCDR: max_length must be positive"),
        ({"scored_length": 0}, "UniCDR: scored_length must be positive"),
        ({"mask": 1.0}, r"UniCDR: mask must lie in \[0, 1\)"),
        ({"id_share": 1.5}, r"UniCDR: id_share must lie in \[0, 1\]"),
        ({"contrast": 1.0}, r"UniCDR: contrast must lie in \[0, 1\)"),
        ({"warm_up": -1}, "UniCDR: warm_up must be 0 or more"),
        ({"dropout": 1.0}, r"UniCDR: dropout must be in \[0, 1\)"),
        ({"prior_l2": 0.0}, "UniCDR: prior_l2 must be positive"),
        ({"prior_floor": -0.1}, "UniCDR: prior_floor must be 0 or more"),
        ({"init_std": 0.0}, "UniCDR: init_std must be positive"),
    ],
)
def test_bad_options(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ps.models.UniCDR(data.schema, **options)
