"""What every click model keeps, whatever the number of scenes and whatever a batch holds of them.

Models come from the registry, so that a new one is tested as soon as it is registered. Those with the option
``interaction`` are tried with each of its values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polyscene as ps
import pytest
import torch
from every_model import WITHOUT_PARAMETERS, scramble
from many_scenes import in_scenes, many_scenes

SCENES = [1, 2, 3, 17]
MANY = 17  # a size that no other dimension of a model has: tensors that begin with it have a part for each scene
INTERACTIONS = ("none", "fm", "cross")
FOLLOWING = {"interaction": "fm", "history": 3}
# Parameters that may stay without a gradient: a recurrence needs two events of a scene.
WITHOUT_GRADIENT: dict[str, set[str]] = {"dasl": {f"encoders.{s}.weight_hh_l0" for s in range(MANY)}}

NAMES = ps.models.list("ctr")
OF_SCENES = [name for name in NAMES if "interaction" in ps.models.options(name)]
KINDS = [
    pytest.param(name, options, id="-".join([name, *map(str, options.values())]))
    for name in NAMES
    for options in ([*({"interaction": kind} for kind in INTERACTIONS), FOLLOWING] if name in OF_SCENES else [{}])
]
every_kind = pytest.mark.parametrize(("name", "options"), KINDS)
trained_kinds = pytest.mark.parametrize(
    ("name", "options"), [kind for kind in KINDS if kind.values[0] not in WITHOUT_PARAMETERS]
)
any_scenes = pytest.mark.parametrize("scenes", SCENES)
any_type = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def make(name: str, options: dict[str, Any], data: Any, dtype: torch.dtype = torch.float64) -> ps.Model:
    """A model away from its start, with statistics that have seen a batch; in training mode."""
    torch.manual_seed(0)
    model = ps.models.create(name, data.schema, **options).to(dtype)
    model.prepare(data.train)
    if not model.fit_closed_form(data.train):
        scramble(model)
        with torch.no_grad():
            for seed in range(2):
                model.loss(in_scenes(model, data, spread(data, 64), seed))
    return model


def spread(data: Any, rows: int) -> list[int]:
    """Scenes in turn, not grouped."""
    return [(7 * row) % data.schema.num_scenes for row in range(rows)]


def batches(model: ps.Model, data: Any) -> dict[str, Any]:
    """Batches with empty scenes, scenes of one row, a single row and none at all."""
    last = data.schema.num_scenes - 1
    scene = {
        "all": spread(data, 40),
        "one scene": [last] * 9,
        "one-row scenes": list(range(last, -1, -1)),
        "one row beside many": [0, 0, last, 0, 0],
        "a single row": [last],
        "empty": [],
    }
    return {what: in_scenes(model, data, of) for what, of in scene.items()}


def parts_of_scenes(model: ps.Model) -> dict[str, torch.Tensor]:
    """Parameters and buffers with a part for each scene, [S, ...]."""
    tables = set(model.table_parameters())
    state = model.state_dict(keep_vars=True)
    return {path: x for path, x in state.items() if x.dim() and len(x) == MANY and path not in tables}


def auc(label: torch.Tensor, score: torch.Tensor) -> float:
    """Probability that a positive row scores above a negative one, by sorting; no ties in continuous scores."""
    rank = score.argsort().argsort().double() + 1
    positive = label == 1
    count = int(positive.sum())
    return float((rank[positive].sum() - count * (count + 1) / 2) / (count * (len(label) - count)))


def fit(model: ps.Model, data: Any, *, steps: int, rows: int, lr: float) -> ps.Model:
    """Adam steps on batches of the training rows."""
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    for step in range(steps):
        optimiser.zero_grad()
        model.loss(ps.testing.batch(data, rows, step, history=model.history_length)).backward()
        optimiser.step()
    return model.eval()


# -- forward ---------------------------------------------------------------------------------------


@every_kind
@any_scenes
@any_type
def test_a_row_depends_on_itself_alone(name: str, options: dict[str, Any], scenes: int, dtype: torch.dtype) -> None:
    data = many_scenes(scenes)
    model = make(name, options, data, dtype).eval()
    close = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-10, "atol": 1e-10}
    batch = in_scenes(model, data, spread(data, 24))
    with torch.no_grad():
        whole = model(batch)
        assert whole.dtype == dtype
        assert whole.std() > 1e-3  # it does read its rows
        for row in (0, 5, 23):
            torch.testing.assert_close(model(batch.take([row])), whole[[row]], **close)
        turned = list(range(23, -1, -2))
        torch.testing.assert_close(model(batch.take(turned)), whole[turned], **close)
        mine = in_scenes(model, data, spread(data, 24), seed=1).take([3, 4, 5, 6, 8])
        for other in (batch.take([9, 9, 1, 2, 3, 20]), mine):  # the same row 0 among others
            together = model(join(batch.take([0]), other, model))
            torch.testing.assert_close(together[0], whole[0], **close)


def join(first: Any, second: Any, model: ps.Model) -> Any:
    """Rows of two batches of the same data, by way of their positions in the table."""
    data = many_scenes(model.schema.num_scenes)
    batch = data.train.batch(torch.cat([first.row, second.row]), history=model.history_length)
    batch.scene = torch.cat([first.scene, second.scene])
    return batch


@every_kind
@any_scenes
@any_type
def test_any_batch_is_answered(name: str, options: dict[str, Any], scenes: int, dtype: torch.dtype) -> None:
    data = many_scenes(scenes)
    model = make(name, options, data, dtype)
    for training in (False, True):
        model.train(training)
        for what, batch in batches(model, data).items():
            model.zero_grad()
            loss = model.loss(batch)
            assert loss.isfinite(), what
            if loss.requires_grad:
                loss.backward()
            assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters()), what
            logits = model(batch)
            assert logits.shape == (len(batch),), what
            assert logits.dtype == dtype
            assert logits.isfinite().all(), what
    assert all(x.isfinite().all() for x in model.state_dict().values() if x.is_floating_point())


@pytest.mark.parametrize("name", NAMES)
def test_labels_and_weights_are_not_read(name: str) -> None:
    data = many_scenes(3)
    model = make(name, {}, data).eval()
    batch, other = (in_scenes(model, data, spread(data, 12)) for _ in range(2))
    other.label = 1 - batch.label
    other.weight = torch.arange(12).float()
    assert torch.equal(model(other), model(batch))


@pytest.mark.parametrize("name", [name for name in NAMES if "max_length" in ps.models.options(name)])
def test_nothing_of_the_future_is_followed(name: str) -> None:
    data = many_scenes(3)
    model = make(name, {"attention": True} if name == "sar_net" else {}, data).eval()
    assert model.history_length > 0
    batch = in_scenes(model, data, spread(data, 40))
    events = batch.history
    row = torch.repeat_interleave(torch.arange(40), events.offsets.diff())
    assert len(row) > 40
    assert (events.time < batch.time[row]).all()
    before = model(batch)
    batch.history = type(events)(torch.zeros_like(events.offsets), *(x[:0] for x in columns_of(events)))
    without = model(batch)
    assert without.isfinite().all()
    assert not torch.allclose(without, before)


def columns_of(events: Any) -> tuple[torch.Tensor, ...]:
    return events.item, events.scene, events.label, events.time


# -- training --------------------------------------------------------------------------------------


@trained_kinds
def test_every_parameter_of_every_scene_gets_a_gradient(name: str, options: dict[str, Any]) -> None:
    data = many_scenes(MANY)
    model = make(name, options, data)
    model.loss(in_scenes(model, data, spread(data, 20 * MANY))).backward()
    allowed = WITHOUT_GRADIENT.get(name, set())
    without = {path for path, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert without <= allowed
    for path, tensor in parts_of_scenes(model).items():
        if tensor.requires_grad and path not in allowed:
            assert tensor.grad.flatten(1).any(1).all() if tensor.dim() > 1 else tensor.grad.all(), path


@pytest.mark.parametrize(("name", "options"), [kind for kind in KINDS if kind.values[0] in OF_SCENES])
@any_type
def test_a_batch_leaves_other_scenes_alone(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    data = many_scenes(MANY)
    model = make(name, options, data, dtype)
    before = {path: tensor.detach().clone() for path, tensor in model.state_dict().items()}
    present, absent = [0, 3, MANY - 1], [s for s in range(MANY) if s not in (0, 3, MANY - 1)]
    alone = 5  # one row: no variance
    batch = in_scenes(model, data, present * 15 + [alone])
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    model.loss(batch).backward()
    optimiser.step()
    parts = parts_of_scenes(model)
    assert parts or options["interaction"] != "fm"  # scene_bias at least
    for path, after in parts.items():
        moved = (after.detach() != before[path]).flatten(1).any(1) if after.dim() > 1 else after != before[path]
        if after.requires_grad:
            assert after.grad is not None, path
            assert not after.grad[[s for s in absent if s != alone]].any(), path
        if after.requires_grad or "running" in path:
            assert not moved[[s for s in absent if s != alone]].any(), path
            assert moved[present].all(), path
        if "running" in path:
            assert not moved[alone], path


@trained_kinds
def test_saved_and_loaded_to_the_bit(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    data = many_scenes(3)
    model = fit(make(name, options, data, torch.float32), data, steps=3, rows=64, lr=0.01)
    ps.save(model, tmp_path / "model.safetensors")
    again = ps.load(tmp_path / "model.safetensors").eval()
    state = again.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, state[path]) for path, tensor in model.state_dict().items())
    assert again.options == model.options
    batch = in_scenes(model, data, spread(data, 50))
    assert torch.equal(again(batch), model(batch))


@trained_kinds
def test_learns_64_rows_by_heart(name: str, options: dict[str, Any]) -> None:
    data = many_scenes(3)
    torch.manual_seed(0)
    model = ps.models.create(name, data.schema, **options)
    model.prepare(data.train)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
    batch = ps.testing.batch(data, 64, history=model.history_length)
    for step in range(200):
        optimiser.zero_grad()
        model.loss(batch).backward()
        optimiser.step()
        if step % 20 == 19:
            with torch.no_grad():
                found = auc(batch.label, model.eval()(batch))
            if found > 0.99:
                return
            model.train()
    pytest.fail(f"AUC {found:.4f}")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_PARAMETERS])
def test_learns_from_signal_and_not_from_noise(name: str) -> None:
    found = []
    for noise in (False, True):
        data = many_scenes(3, 3000, noise)
        torch.manual_seed(0)
        model = ps.models.create(name, data.schema)
        model.prepare(data.train)
        fit(model, data, steps=30, rows=500, lr=0.01)
        batch = data.valid.batch(torch.arange(1500), history=model.history_length)
        with torch.no_grad():
            found.append(auc(batch.label, model(batch)))
    signal, chance = found
    assert signal > 0.6
    assert abs(chance - 0.5) < 0.06  # four standard errors


@trained_kinds
def test_training_repeats_to_the_bit(name: str, options: dict[str, Any]) -> None:
    data = many_scenes(3)
    states = []
    for _ in range(2):
        ps.seed_everything(5)
        model = ps.models.create(name, data.schema, **options)
        ps.Trainer(optimizer="adam", lr=0.01, batch_size=128, epochs=1, patience=0, seed=5).fit(model, data)
        states.append(model.state_dict())
    first, second = states
    assert all(torch.equal(first[path], second[path]) for path in first)
