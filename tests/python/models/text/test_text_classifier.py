"""`TextClassifier` against numpy, and what must not change its answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import classed
import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
import torch
from every_model import scramble
from slow_texts import state_of, text_vector

KINDS = ("mean", "bilstm", "cnn", "transformer")
every_kind = pytest.mark.parametrize("encoder", KINDS)
every_scene = pytest.mark.parametrize("scene", ["none", "embedding", "heads"])


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("text")


def made(data: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    small = {"dim": 6, "width": 8, "hidden": [7]}
    return scramble(ps.models.TextClassifier(data.schema, **small | options)).eval()


def slow(model: Any, batch: Any) -> np.ndarray:
    """Logits [B, C], row by row."""
    state, options = state_of(model), model.options
    encoder = {"kind": options["encoder"], "hidden": options["width"], **{k: options[k] for k in ("layers", "heads")}}
    text, classes = batch.sequence["text"], len(model.schema.classes)
    out = []
    for b, scene in enumerate(batch.scene.tolist()):
        codes = text.values[text.offsets[b] : text.offsets[b + 1]].numpy()
        r, _ = text_vector(state_of(model, "encoder."), encoder, state["words.weight"][codes])
        if options["scene"] == "embedding":
            r = r + state["scene_vectors"][scene]
        h = np.maximum(state["hidden.linears.0.weight"] @ r + state["hidden.linears.0.bias"], 0)
        name, first = ("scene_output", scene * classes) if options["scene"] == "heads" else ("output", 0)
        own = slice(first, first + classes)
        out.append(state[f"{name}.weight"][own] @ h + state[f"{name}.bias"][own])
    return np.stack(out)


@every_kind
@every_scene
def test_matches_numpy(data: Any, encoder: str, scene: str) -> None:
    model, batch = made(data, encoder=encoder, scene=scene).double(), ps.testing.batch(data, 24)
    assert (batch.sequence["text"].offsets.diff() == 0).any()  # empty texts among them
    np.testing.assert_allclose(model(batch).detach(), slow(model, batch), atol=1e-9)


@every_kind
def test_order_and_neighbours_of_a_row_change_nothing(data: Any, encoder: str) -> None:
    model, batch = made(data, encoder=encoder, scene="heads").double(), ps.testing.batch(data, 16)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(model(batch.take(order)), model(batch)[order])
    torch.testing.assert_close(model(batch.take(torch.tensor([5]))), model(batch)[5:6])
    assert model(batch.take(torch.zeros(0, dtype=torch.int64))).shape == (0, 3)
    none = torch.full((2,), int((batch.sequence["text"].offsets.diff() == 0).nonzero()[0]))
    assert model(batch.take(none)).isfinite().all()


def test_loss_is_smoothed_cross_entropy(data: Any) -> None:
    model, batch = made(data, label_smoothing=0.2, encoder="mean").double(), ps.testing.batch(data, 16)
    expected = torch.nn.functional.cross_entropy(model(batch), batch.label.long(), label_smoothing=0.2)
    torch.testing.assert_close(model.loss(batch), expected)


@every_kind
def test_explain_gives_the_attention_over_words(data: Any, encoder: str) -> None:
    model, batch = made(data, encoder=encoder), ps.testing.batch(data, 16)
    found = model.explain(batch)
    lengths = batch.sequence["text"].offsets.diff()
    assert torch.equal(found["words"], lengths)
    attention = found["attention"]
    assert attention.shape == (16, int(lengths.max()))
    torch.testing.assert_close(attention.sum(1), (lengths > 0).float())
    assert all((attention[b, n:] == 0).all() for b, n in enumerate(lengths.tolist()))


def test_represent_is_what_the_output_layer_reads(data: Any) -> None:
    model, batch = made(data), ps.testing.batch(data, 16)
    h = model.represent(batch)
    assert h.shape == (16, 7)
    torch.testing.assert_close(
        h @ model.state_dict()["output.weight"].T + model.state_dict()["output.bias"], model(batch)
    )


@every_kind
def test_learns_and_predicts_what_it_is_measured_by(data: Any, encoder: str) -> None:
    def fit() -> tuple[Any, Any]:
        torch.manual_seed(1)
        options = {"dim": 16, "width": 16, "hidden": [16], "scene": "embedding", "dropout": 0.1}
        model = ps.models.TextClassifier(data.schema, encoder=encoder, **options)
        return model, ps.Trainer(optimizer="lazy_adam", lr=0.01, epochs=10, batch_size=32, seed=3).fit(model, data)

    classed.check_learning(fit, data, 0.5)


@every_scene
def test_a_saved_model_reads_new_texts_alike(tmp_path: Path, scene: str) -> None:
    rows = pa.table(
        {
            "text": ["good film", "bad film", "good, good!", "so bad", "a good one", "a bad one"] * 10,
            "label": ["+", "-"] * 30,
            "scene": (["a"] * 3 + ["b"] * 3) * 10,
        }
    )
    data = ps.read_table(rows, task="text", text=["text"], tokenizer={"kind": "bpe", "size": 40})
    model = ps.models.TextClassifier(data.schema, encoder="cnn", scene=scene)
    ps.Trainer(lr=0.01, epochs=2).fit(model, data)
    ps.save(model, tmp_path / "model.safetensors")
    loaded = ps.load(tmp_path / "model.safetensors")
    new = pa.table({"text": ["good", "unheard", "", None, "bad bad"], "scene": ["a", "b", "a", "b", "a"]})
    np.testing.assert_array_equal(loaded.predict(new), model.predict(new))
    assert loaded.schema.classes == ["+", "-"]
    np.testing.assert_allclose(model.predict(new)[2], model.predict(new.slice(2, 1))[0], rtol=1e-6)


def test_lazy_steps_move_only_the_words_of_the_batch(data: Any) -> None:
    model = made(data).train()
    assert model.table_parameters() == ["words.weight"]
    rows = data.train.take(torch.arange(2))
    seen = set(rows.batch(torch.arange(2)).sequence["text"].values.tolist())
    words = dict(model.named_parameters())["words.weight"]
    before = words.detach().clone()
    ps.Trainer(optimizer="lazy_adam", lr=0.1, epochs=1, batch_size=2, threads=1).fit(model, rows)
    moved = (words.detach() != before).any(1).nonzero().flatten().tolist()
    assert moved and set(moved) <= seen and len(seen) < len(words)


def test_options_and_data_that_do_not_fit(data: Any) -> None:
    with pytest.raises(ValueError, match="TextClassifier: scene must be one of none, embedding, heads, got 'head'"):
        ps.models.TextClassifier(data.schema, scene="head")
    with pytest.raises(ValueError, match=r"TextClassifier: label_smoothing must be in \[0, 1\), got 1"):
        ps.models.TextClassifier(data.schema, label_smoothing=1.0)
    with pytest.raises(ValueError, match="text_classifier: made for task text, the data's task is 'ctr'"):
        ps.models.create("text_classifier", ps.testing.tiny_data().schema)
    with pytest.raises(ValueError, match="made for task"):
        ps.models.create("logistic", data.schema)
