"""`ImageClassifier` against numpy, what must not change its answer, and what training rows alone decide."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import classed
import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
import torch
from every_model import scramble
from slow_images import image_vector
from slow_texts import state_of

every_encoder = pytest.mark.parametrize("encoder", ["cnn", "resnet"])
every_scene = pytest.mark.parametrize("scene", ["none", "embedding", "heads"])
SMALL = {"widths": [4, 6], "hidden": [7]}
AUGMENT = {"shift": 1, "rotate": 10.0, "scale": 0.1, "crop": 0.1, "flip": 0.5, "brightness": 0.1, "contrast": 0.1}


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("image")


def made(data: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    model = scramble(ps.models.ImageClassifier(data.schema, **SMALL | options))
    model.prepare(data.train)
    return model.eval()


def pixels(batch: Any) -> np.ndarray:
    """Images of a batch row by row, [B, 1, 8, 8] in [0, 1]; a missing one is 0."""
    held = batch.sequence["image"]
    out = np.zeros((len(batch), 1, 8, 8))
    for b in range(len(batch)):
        mine = held.values[held.offsets[b] : held.offsets[b + 1]].numpy()
        if len(mine):
            out[b, 0] = mine.reshape(8, 8) / 255
    return out


def slow(model: Any, batch: Any) -> np.ndarray:
    """Logits [B, C], row by row."""
    state, options = state_of(model), model.options
    encoder = {"kind": options["encoder"], **{k: options[k] for k in ("widths", "layers", "norm", "pool")}}
    classes, out = len(model.schema.classes), []
    for x, scene in zip(pixels(batch), batch.scene.tolist(), strict=True):
        normed = (x - state["pixel_mean"][0]) / state["pixel_std"][0]
        r, _ = image_vector(state_of(model, "encoder."), encoder, normed)
        if options["scene"] == "embedding":
            r = r + state["scene_vectors"][scene]
        h = np.maximum(state["hidden.linears.0.weight"] @ r + state["hidden.linears.0.bias"], 0)
        name, first = ("scene_output", scene * classes) if options["scene"] == "heads" else ("output", 0)
        own = slice(first, first + classes)
        out.append(state[f"{name}.weight"][own] @ h + state[f"{name}.bias"][own])
    return np.stack(out)


def with_missing(data: Any, rows: int) -> Any:
    """A batch with a row without an image among its rows."""
    whole = data.train.batch(torch.arange(len(data.train)))
    empty = (whole.sequence["image"].offsets.diff() == 0).nonzero().flatten()
    assert len(empty)
    return whole.take(torch.cat([empty[:1], torch.arange(rows - 1)]))


@every_encoder
@every_scene
def test_matches_numpy(data: Any, encoder: str, scene: str) -> None:
    model, batch = made(data, encoder=encoder, scene=scene).double(), with_missing(data, 12)
    np.testing.assert_allclose(model(batch).detach(), slow(model, batch), atol=1e-6)  # pixels are float32


@every_encoder
def test_order_and_neighbours_of_a_row_change_nothing(data: Any, encoder: str) -> None:
    model, batch = made(data, encoder=encoder, scene="heads").double(), ps.testing.batch(data, 16)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(model(batch.take(order)), model(batch)[order])
    torch.testing.assert_close(model(batch.take(torch.tensor([5]))), model(batch)[5:6])
    assert model(batch.take(torch.zeros(0, dtype=torch.int64))).shape == (0, 3)


def test_pixels_are_normalised_by_training_rows_alone(data: Any) -> None:
    model = made(data)
    whole = data.train.batch(torch.arange(len(data.train)))
    known = pixels(whole)[(whole.sequence["image"].offsets.diff() > 0).numpy()]
    assert 0 < len(known) < len(data.train)
    state = model.state_dict()
    assert state["pixel_mean"].item() == pytest.approx(known.mean(), rel=1e-6)
    assert state["pixel_std"].item() == pytest.approx(known.std(), rel=1e-6)
    assert state["pixel_rows"].tolist() == [len(known)] * len(state["pixel_mean"])

    def fitted(test: int) -> Any:
        rows = {"image": [np.full(4, i % 7).tolist() for i in range(20)] + [[test] * 4] * 5}
        rows |= {"label": ["a", "b"] * 12 + ["a"], "scene": ["x"] * 25}
        table, size = pa.table(rows), [{"name": "image", "size": [2, 2]}]
        read = ps.read_table(train=table.slice(0, 20), test=table.slice(20), task="image", image=size)
        torch.manual_seed(0)
        one = ps.models.ImageClassifier(read.schema, **SMALL)
        ps.Trainer(epochs=1, threads=1).fit(one, read)
        return read.schema.digest, one.state_dict()

    (digest, dark), (other, light) = fitted(0), fitted(255)
    assert digest == other and all(torch.equal(dark[name], light[name]) for name in dark)


def test_statistics_are_those_of_the_first_training_rows(data: Any) -> None:
    model = made(data)
    before = model.state_dict()["pixel_mean"].clone()
    model.prepare(data.train.take(torch.arange(5)))
    assert torch.equal(model.state_dict()["pixel_mean"], before)


def test_loss_is_smoothed_cross_entropy(data: Any) -> None:
    model, batch = made(data, label_smoothing=0.2).double(), ps.testing.batch(data, 16)
    expected = torch.nn.functional.cross_entropy(model(batch), batch.label.long(), label_smoothing=0.2)
    torch.testing.assert_close(model.loss(batch), expected)


@every_encoder
def test_explain_gives_the_attention_over_positions(data: Any, encoder: str) -> None:
    model, batch = made(data, encoder=encoder), ps.testing.batch(data, 16)
    attention = model.explain(batch)["attention"]
    assert attention.shape == (16, 4, 4) and (attention > 0).all()
    torch.testing.assert_close(attention.sum((1, 2)), torch.ones(16))


def test_represent_is_what_the_output_layer_reads(data: Any) -> None:
    model, batch = made(data), ps.testing.batch(data, 16)
    h, state = model.represent(batch), model.state_dict()
    assert h.shape == (16, 7)
    torch.testing.assert_close(h @ state["output.weight"].T + state["output.bias"], model(batch))


def test_augmentation_changes_training_alone_and_a_seed_repeats_it(data: Any) -> None:
    plain, model, batch = made(data, dropout=0.0), made(data, dropout=0.0, **AUGMENT), ps.testing.batch(data, 16)
    assert torch.equal(plain(batch), model(batch))
    assert torch.equal(plain.train()(batch), plain.eval()(batch))
    model.train()
    torch.manual_seed(3)
    first = model(batch)
    torch.manual_seed(3)
    assert torch.equal(model(batch), first) and not torch.equal(first, plain(batch))


@every_encoder
@pytest.mark.parametrize("augment", [{}, AUGMENT])
def test_learns_and_predicts_what_it_is_measured_by(data: Any, encoder: str, augment: dict[str, Any]) -> None:
    def fit() -> tuple[Any, Any]:
        torch.manual_seed(1)
        options = {"widths": [8, 16], "hidden": [16], "scene": "embedding", "dropout": 0.1}
        model = ps.models.ImageClassifier(data.schema, encoder=encoder, **options | augment)
        return model, ps.Trainer(lr=0.01, epochs=6, batch_size=32, seed=3, threads=1).fit(model, data)

    classed.check_learning(fit, data, 0.8)


@every_scene
def test_a_saved_model_reads_new_images_alike(tmp_path: Path, scene: str) -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (60, 6, 5, 3))
    rows = pa.table({"image": images.tolist(), "label": ["+", "-"] * 30, "scene": (["a"] * 3 + ["b"] * 3) * 10})
    data = ps.read_table(rows, task="image", image=[{"name": "image", "channels": 3}])
    model = ps.models.ImageClassifier(data.schema, scene=scene, **SMALL)
    ps.Trainer(lr=0.01, epochs=2).fit(model, data)
    ps.save(model, tmp_path / "model.safetensors")
    loaded = ps.load(tmp_path / "model.safetensors")
    new = pa.table({"image": [*images[:2].tolist(), None], "scene": ["a", "b", "a"]})
    np.testing.assert_array_equal(loaded.predict(new), model.predict(new))
    assert loaded.schema.classes == ["+", "-"] and loaded.schema.images == [("image", 3, 6, 5)]
    assert torch.equal(loaded.state_dict()["pixel_mean"], model.state_dict()["pixel_mean"])
    assert loaded.state_dict()["pixel_mean"].shape == (3,)


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_copies_are_models_of_their_own(data: Any, norm: str) -> None:
    model, batch = made(data, norm=norm, scene="heads"), ps.testing.batch(data, 8)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert list(copied.state_dict()) == list(model.state_dict()) and torch.equal(copied(batch), model(batch))
        with torch.no_grad():
            next(copied.parameters()).add_(1)
        assert not torch.equal(copied(batch), model(batch))
    assert model.to(torch.float64) is model and model(batch).dtype == torch.float64


def test_options_and_data_that_do_not_fit(data: Any) -> None:
    with pytest.raises(ValueError, match="ImageClassifier: scene must be one of none, embedding, heads, got 'head'"):
        ps.models.ImageClassifier(data.schema, scene="head")
    with pytest.raises(ValueError, match=r"ImageClassifier: label_smoothing must be in \[0, 1\), got 1"):
        ps.models.ImageClassifier(data.schema, label_smoothing=1.0)
    with pytest.raises(ValueError, match=r"ImageAugment: flip must be in \[0, 1\], got 2"):
        ps.models.ImageClassifier(data.schema, flip=2.0)
    with pytest.raises(ValueError, match="image_classifier: made for task image, the data's task is 'ctr'"):
        ps.models.create("image_classifier", ps.testing.tiny_data().schema)
    with pytest.raises(ValueError, match="made for task"):
        ps.models.create("text_classifier", data.schema)
