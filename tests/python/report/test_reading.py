"""Words and pixels that a model reads, from the model to the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pytest
import torch
from polyscene import runs
from polyscene.explaining import explanation
from polyscene.report.page import pixels, words
from polyscene.report.picture import picture_of, positions


def test_words_are_those_of_the_texts() -> None:
    data: Any = ps.testing.tiny_data("text")
    model = ps.models.TextClassifier(data.schema, encoder="cnn", dim=4, width=4)
    found = explanation(model, data)["words"]
    assert 0 < len(found) <= 6
    scenes = [each["title"].split(" in ")[1].split(",")[0] for each in found]
    assert set(scenes[:3]) == set(data.schema.scenes)  # in turn
    for each in found:
        assert len(each["words"]) == len(each["weights"])
        if each["words"]:
            assert sum(each["weights"]) == pytest.approx(1, abs=1e-3)
    # The tokens of a row are those that its batch holds.
    known = [None, None, *data.schema.lists[0].ids]
    batch = data.test.batch(torch.tensor([0]))
    held = [known[code] for code in batch.sequence["text"].values.tolist()]
    assert [word for word, name in zip(found[0]["words"], held, strict=True) if name is not None] == [
        name for name in held if name is not None
    ]
    weights = model.eval().explain(batch)["attention"][0].tolist()
    assert found[0]["weights"] == pytest.approx(weights[: len(held)], abs=1e-4)


def test_pixels_are_those_of_the_images() -> None:
    data: Any = ps.testing.tiny_data("image")
    model = ps.models.ImageClassifier(data.schema, widths=[4, 8])
    found = explanation(model, data)["pixels"]
    assert 0 < len(found) <= 6
    for each in found:
        weights = np.array(each["weights"])
        assert weights.ndim == 2
        assert weights.sum() == pytest.approx(1, abs=0.01)
        assert np.array(each["image"]).ndim == 3


def test_how_they_are_drawn() -> None:
    shown = words([{"title": "good in a", "words": ["fine", "<b>"], "weights": [0.9, 0.1]}, {"title": "x"}])
    assert [chip["level"] for chip in shown[0]["chips"]] == [9, 3]
    assert len(shown) == 1
    picture = str(picture_of([[[0.0, 1.0], [0.5, 0.0]]], "three <in> uci"))
    assert picture.count("<rect") == 3  # black behind, two that are not
    assert 'fill="#ffffff"' in picture
    assert 'fill="#808080"' in picture
    assert "three &lt;in&gt; uci" in picture
    colours = str(picture_of([[[1.0]], [[0.0]], [[0.2]]], "t"))
    assert 'fill="#ff0033"' in colours
    drawn = str(positions([[0.75, 0.25]], "t"))
    assert "q9" in drawn
    assert "25.0%" in drawn
    large = str(picture_of([np.ones((130, 10)).tolist()], "t"))
    assert large.count("<rect") == 1 + 44 * 10  # every third row
    assert pixels([{"title": "t", "image": [], "weights": []}]) == []


@pytest.mark.parametrize("task", ["text", "image"])
def test_the_page_shows_them(task: str, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    draw = np.random.default_rng(0)
    label = draw.choice(["low", "high"], 120)
    rows: dict[str, Any] = {"label": label, "scene": ["a", "b"] * 60}
    if task == "text":
        rows["text"] = [f"so {'good' if each == 'high' else 'bad'} it is <i>" for each in label]
    else:
        light = np.where(label == "high", 200, 20)[:, None, None]
        rows["image"] = (light + draw.integers(0, 50, (120, 6, 6))).tolist()
    parquet.write_table(pa.table(rows), tmp_path / "rows.parquet")
    model = {"text": {"name": "text_classifier", "dim": 4, "width": 4}, "image": {"name": "image_classifier"}}[task]
    dataset = {"name": "table", "task": task, "data": str(tmp_path / "rows.parquet"), task: [task]}
    config = {"dataset": dataset, "model": model, "train": {"epochs": 1, "threads": 1}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    resolved = runs.resolve(tmp_path / "config.json")
    done = runs.execute(resolved, runs.folder_for(resolved, tmp_path / "run", resume=False))
    page = (done.folder / "report.html").read_text()
    assert "What the model reads" in page
    assert ('<span class="chip' if task == "text" else 'class="picture"') in page
    section = page.split("What the model reads")[1].split("</section>")[0]
    assert "<i>" not in section
