"""`MultiModal` against numpy, and what a modality that is missing must not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
import torch
from every_model import scramble
from slow_fusion import fused
from slow_images import image_vector
from slow_texts import state_of, text_vector

FUSIONS = ("concat", "gated", "cross_attention")
every_fusion = pytest.mark.parametrize("fusion", FUSIONS)
every_scene = pytest.mark.parametrize("scene", ["none", "embedding", "heads"])
SMALL = {"dim": 4, "width": 6, "fused": 8, "hidden": [7], "image_widths": [3, 4]}


def rows(count: int = 240, seed: int = 0) -> dict[str, list[Any]]:
    """Classes that a word, an id, a tag or a bright corner tells, each of which may be missing."""
    draw = np.random.default_rng(seed)
    out: dict[str, list[Any]] = {name: [] for name in ("text", "maker", "colour", "tags", "image", "label", "scene")}
    for _ in range(count):
        y = int(draw.integers(3))
        told = draw.random(4) < 0.6
        words = draw.choice(["a", "b", "c", "d"], int(draw.integers(1, 6))).tolist()
        out["text"].append(" ".join([*words, f"word{y}"]) if told[0] else ["", None, "a b"][int(draw.integers(3))])
        out["maker"].append(f"maker{y}" if told[1] else None)
        out["colour"].append(str(draw.choice(["red", "blue"])) if draw.random() < 0.7 else None)
        out["tags"].append([f"tag{y}", "t"] if told[2] else [])
        image = draw.integers(0, 60, (5, 4))
        image[(0, 0, -1)[y], (0, -1, 0)[y]] = 250
        out["image"].append(image.tolist() if told[3] else None)
        out["label"].append("xyz"[y])
        out["scene"].append(str(draw.choice(["shop", "blog"])))
    return out


ROLES: dict[str, dict[str, Any]] = {
    "all": {"text": ["text"], "categorical": ["maker", "colour"], "multi_hot": ["tags"], "image": ["image"]},
    "text and ids": {"text": ["text"], "categorical": ["maker", "colour"]},
    "text": {"text": ["text"]},
    "image and ids": {"image": ["image"], "categorical": ["maker"]},
}


def read(which: str) -> Any:
    task = "image" if which.startswith("image") else "text"
    return ps.read_table(pa.table(rows()), task=task, **ROLES[which])


@pytest.fixture(scope="module")
def data() -> Any:
    return read("all")


def made(data: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    return scramble(ps.models.MultiModal(data.schema, **SMALL | options)).eval()


def batch_of(data: Any, count: int = 24) -> Any:
    return data.train.batch(torch.arange(count))


def vectors_of(model: Any, batch: Any, b: int) -> tuple[list[np.ndarray], list[bool]]:
    """The vector of each modality of a row, and whether it has it."""
    state, options, schema = state_of(model), model.options, model.schema
    x, present = [], []
    tags = [each.name for each in schema.lists if each.kind == "multi_hot"]
    if len(schema.categorical) + len(tags):
        first, slots, known = 0, [], False
        for f, field in enumerate(schema.categorical):
            code = int(batch.categorical[b, f])
            slots.append(state["ids.weight"][first + code] if code != 1 else np.zeros(options["dim"]))
            known, first = known or code != 1, first + field.rows
        for name in tags:
            held = batch.sequence[name]
            codes = held.values[held.offsets[b] : held.offsets[b + 1]].numpy()
            slots.append(state["ids.weight"][first + codes].mean(0) if len(codes) else np.zeros(options["dim"]))
            known = known or len(codes) > 0
        x.append(np.concatenate(slots))
        present.append(known)
    if "text" in batch.sequence:
        held = batch.sequence["text"]
        codes = held.values[held.offsets[b] : held.offsets[b + 1]].numpy()
        encoder = {"kind": options["text"], "hidden": options["width"], **{k: options[k] for k in ("layers", "heads")}}
        x.append(text_vector(state_of(model, "text_encoder."), encoder, state["words.weight"][codes])[0])
        present.append(len(codes) > 0)
    if "image" in batch.sequence:
        held = batch.sequence["image"]
        pixels = held.values[held.offsets[b] : held.offsets[b + 1]].double().numpy()
        image = {"kind": options["image"], "widths": options["image_widths"], "layers": 1, "norm": "group"}
        image |= {"pool": "attention"}
        shown = pixels.reshape(1, 5, 4) / 255 if len(pixels) else np.zeros((1, 5, 4))
        x.append(image_vector(state_of(model, "image_encoders.0."), image, 2 * shown - 1)[0])
        present.append(len(pixels) > 0)
    return x, present


def slow(model: Any, batch: Any) -> tuple[np.ndarray, np.ndarray]:
    """Logits [B, C] and weights [B, M], row by row."""
    state, options, classes = state_of(model), model.options, len(model.schema.classes)
    fusion = {"kind": options["fusion"], "hidden": options["fused"], "heads": options["fusion_heads"]}
    out, weights = [], []
    for b, scene in enumerate(batch.scene.tolist()):
        x, present = vectors_of(model, batch, b)
        r, weight = fused(state_of(model, "fusion."), fusion, x, np.array(present))
        if options["scene"] == "embedding":
            r = r + state["scene_vectors"][scene]
        h = np.maximum(state["hidden.linears.0.weight"] @ r + state["hidden.linears.0.bias"], 0)
        name, first = ("scene_output", scene * classes) if options["scene"] == "heads" else ("output", 0)
        own = slice(first, first + classes)
        out.append(state[f"{name}.weight"][own] @ h + state[f"{name}.bias"][own])
        weights.append(weight)
    return np.stack(out), np.stack(weights)


@every_fusion
@every_scene
def test_matches_numpy(data: Any, fusion: str, scene: str) -> None:
    model, batch = made(data, fusion=fusion, scene=scene).double(), batch_of(data)
    logits, weights = slow(model, batch)
    np.testing.assert_allclose(model(batch).detach(), logits, atol=1e-6)  # pixels are float32
    found = model.explain(batch)
    np.testing.assert_allclose(found["weights"].detach(), weights, atol=1e-6)
    assert found["present"].shape == (24, 3) and not found["present"].all() and found["present"].any(0).all()


@pytest.mark.parametrize("which", ["text and ids", "text", "image and ids"])
def test_matches_numpy_with_fewer_modalities(which: str) -> None:
    data = read(which)
    model, batch = made(data, text="transformer", image="resnet").double(), batch_of(data)
    np.testing.assert_allclose(model(batch).detach(), slow(model, batch)[0], atol=1e-6)


@every_fusion
def test_a_missing_modality_changes_nothing(data: Any, fusion: str) -> None:
    model, batch = made(data, fusion=fusion), batch_of(data, 60)
    present, before = model.explain(batch)["present"], model(batch)
    with torch.no_grad():
        for parameter in model.text_encoder.parameters():  # moves the vectors of texts alone
            parameter.add_(0.3)
    changed = (model(batch) - before).abs().amax(1) > 1e-7
    assert torch.equal(changed, present[:, 1])
    before = model(batch)
    with torch.no_grad():
        for parameter in model.image_encoders.parameters():
            parameter.mul_(1.3).add_(0.1)
    changed = (model(batch) - before).abs().amax(1) > 1e-7
    assert not (changed & ~present[:, 2]).any() and changed.any()


@every_fusion
def test_order_and_neighbours_of_a_row_change_nothing(data: Any, fusion: str) -> None:
    model, batch = made(data, fusion=fusion, scene="heads").double(), batch_of(data, 16)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(model(batch.take(order)), model(batch)[order])
    torch.testing.assert_close(model(batch.take(torch.tensor([5]))), model(batch)[5:6])
    assert model(batch.take(torch.zeros(0, dtype=torch.int64))).shape == (0, 3)


def test_explain_tells_words_and_positions(data: Any) -> None:
    model, batch = made(data), batch_of(data)
    found = model.explain(batch)
    lengths = batch.sequence["text"].offsets.diff()
    assert list(found) == ["weights", "present", "attention", "words", "attention_image"]
    assert torch.equal(found["words"], lengths)
    assert torch.equal(found["present"][:, 1], lengths > 0)
    torch.testing.assert_close(found["attention"].sum(1), (lengths > 0).float())
    torch.testing.assert_close(found["attention_image"].sum((1, 2)), torch.ones(24))
    torch.testing.assert_close(found["weights"].sum(1), found["present"].any(1).float())
    assert (found["weights"][~found["present"]] == 0).all()


def test_loss_is_smoothed_cross_entropy_and_represent_is_what_the_output_reads(data: Any) -> None:
    model, batch = made(data, label_smoothing=0.2).double(), batch_of(data)
    expected = torch.nn.functional.cross_entropy(model(batch), batch.label.long(), label_smoothing=0.2)
    torch.testing.assert_close(model.loss(batch), expected)
    state, h = model.state_dict(), model.represent(batch)
    torch.testing.assert_close(h @ state["output.weight"].T + state["output.bias"], model(batch))


def test_every_modality_has_gradients(data: Any) -> None:
    model = made(data, fusion="cross_attention").train()
    model.loss(batch_of(data, 60)).backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still in ([], ["fusion.attention.key_projection.bias"])  # the same for all scores of a softmax


def test_more_modalities_know_more_and_a_seed_gives_the_same_bits(data: Any) -> None:
    def fit(data: Any) -> Any:
        torch.manual_seed(1)
        model = ps.models.MultiModal(data.schema, dim=8, width=8, fused=16, hidden=[16], image_widths=[8, 8])
        ps.Trainer(optimizer="lazy_adam", lr=0.02, epochs=12, batch_size=16, seed=3, threads=1).fit(model, data)
        return model

    model, again, text = fit(data), fit(data), fit(read("text"))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    new = pa.table(rows(300, seed=9))
    known = ps.evaluate(model, new).overall["accuracy"]
    assert known > ps.evaluate(text, new).overall["accuracy"] + 0.1
    assert known > 0.8


def test_a_saved_model_predicts_alike(data: Any, tmp_path: Path) -> None:
    model = made(data, fusion="concat")
    ps.save(model, tmp_path / "model.safetensors")
    loaded = ps.load(tmp_path / "model.safetensors")
    new = rows(30, seed=5)
    new["maker"][0], new["text"][1] = "unheard", "words never seen"
    table = pa.table(new).drop(["label"])
    np.testing.assert_array_equal(loaded.predict(table), model.predict(table))
    np.testing.assert_allclose(model.predict(table)[3], model.predict(table.slice(3, 1))[0], rtol=1e-5)
    assert loaded.schema.classes == ["x", "y", "z"]


def test_lazy_steps_move_only_what_the_batch_looked_up(data: Any) -> None:
    model = made(data).train()
    assert set(model.table_parameters()) == {"ids.weight", "words.weight"}
    part = data.train.take(torch.arange(2))
    words = dict(model.named_parameters())["words.weight"]
    before, seen = words.detach().clone(), set(part.batch(torch.arange(2)).sequence["text"].values.tolist())
    ps.Trainer(optimizer="lazy_adam", lr=0.1, epochs=1, batch_size=2, threads=1).fit(model, part)
    moved = set((words.detach() != before).any(1).nonzero().flatten().tolist())
    assert moved <= seen and len(seen) < len(words)


def test_options_and_data_that_do_not_fit(data: Any) -> None:
    with pytest.raises(ValueError, match="Fusion: kind must be one of concat, gated, cross_attention, got 'sum'"):
        ps.models.MultiModal(data.schema, fusion="sum")
    with pytest.raises(ValueError, match="MultiModal: scene must be one of none, embedding, heads, got 'head'"):
        ps.models.MultiModal(data.schema, scene="head")
    with pytest.raises(ValueError, match="MultiModal: dim must be positive, got 0"):
        ps.models.MultiModal(data.schema, dim=0)
    with pytest.raises(ValueError, match="multi_modal: made for tasks? text"):
        ps.models.create("multi_modal", ps.testing.tiny_data().schema)


def test_compiled_data_hold_every_modality(data: Any, tmp_path: Path) -> None:
    data.save(tmp_path / "rows")
    opened = ps.open_data(tmp_path / "rows")
    model = made(data)
    assert opened.schema.digest == data.schema.digest
    torch.testing.assert_close(model(opened.train.batch(torch.arange(9))), model(batch_of(data, 9)), atol=0, rtol=0)


@pytest.mark.parametrize("kind", ["dann", "coral"])
def test_scenes_are_aligned_on_what_the_output_layer_reads(data: Any, kind: str) -> None:
    model = made(data).train()
    around = ps.transfer.Aligned(model, data.train, kind=kind, rows=32, seed=1)
    history = ps.Trainer(lr=0.01, epochs=2, batch_size=32, threads=1).fit(around, data)
    assert np.isfinite(history[-1]["train_loss"])
    state = {name: tensor.clone() for name, tensor in model.eval().state_dict().items()}
    tied, batch = ps.transfer.Anchored(model, [state], strength=1.0), batch_of(data)
    torch.testing.assert_close(tied.loss(batch), model.loss(batch))  # at no distance from where it starts
    with torch.no_grad():
        model.state_dict()["words.weight"].add_(1)
    assert tied.loss(batch) > model.loss(batch)
