"""The notebooks run from top to bottom, find what they say, and are stored without outputs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polyscene
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def execute(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a notebook in ``folder`` and returns it with its outputs."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(Path(polyscene.__file__).parents[1]))
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    return nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()


def printed(notebook: Any) -> str:
    """All that the cells of a notebook show as text."""
    out = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            out.append(output.get("text") or output.get("data", {}).get("text/plain", ""))
    return "\n".join(out)


@every_notebook
def test_is_stored_without_outputs(path: Path) -> None:
    notebook = json.loads(path.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_quickstart_finds_the_transitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(execute(ROOT / "notebooks" / "01_quickstart.ipynb", tmp_path, monkeypatch))
    correlation = re.search(r"over all 9 pairs of scenes: ([\d.]+)", text)
    auc = re.search(r"AUC: model ([\d.]+), the best possible ([\d.]+)", text)
    assert correlation is not None and float(correlation[1]) > 0.9
    assert auc is not None and 0.65 < float(auc[1]) < float(auc[2])


def test_own_data_compares_and_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(execute(ROOT / "notebooks" / "02_own_data.ipynb", tmp_path, monkeypatch))
    assert "no problems found" in text
    assert "'age<25', '25<=age<45', 'age>=45'" in text
    assert re.search(r"^interest_migration \[", text, re.MULTILINE), "the model that follows users wins"
    topics = re.findall(r"^\d +new .*(topic \d)$", text, re.MULTILINE)
    assert len(topics) == 5 and topics.count("topic 2") >= 3
    assert "Warning" not in text


def test_sequences_find_the_circle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = execute(ROOT / "notebooks" / "03_sequences.ipynb", tmp_path, monkeypatch)
    text = printed(notebook)
    found = {name: float(value) for name, value in re.findall(r"^(\w+): NDCG@5 ([\d.]+)$", text, re.MULTILINE)}
    assert found["sasrec"] > 2 * found["popularity"]
    moves = {
        name: float(value) for name, value in re.findall(r"^(\w+): ([\d.]+) of the moves go on", text, re.MULTILINE)
    }
    assert 0.8 < moves["events"] < 0.9 and moves["said"] > 0.95
    after = re.findall(r"^after \w+ (\w+) \d: (.*)$", text, re.MULTILINE)
    follows = {"crime": "history", "history": "love", "love": "nature"}
    assert [follows[genre] in said for genre, said in after] == [True] * 3
    assert shown(notebook) == 3 and "Warning" not in text


def test_transfer_tells_what_was_carried_and_whether_it_harmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = execute(ROOT / "notebooks" / "04_transfer.ipynb", tmp_path, monkeypatch)
    text = printed(notebook)
    assert re.search(r"^migrating scene_0, scene_1 into scene_2 helped: AUC", text, re.MULTILINE)
    near = float(re.search(r"distance of a layer from its start ([\d.]+)", text)[1])  # type: ignore[index]
    far = float(re.search(r"distance of a layer from scene_0 ([\d.]+)", text)[1])  # type: ignore[index]
    assert near < far / 2
    assert re.search(r"^worse in \d of 3 scenes, surely in none$", text, re.MULTILINE)
    assert shown(notebook) == 1 and "Warning" not in text


def test_texts_and_images_are_attributed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = execute(ROOT / "notebooks" / "05_text_and_images.ipynb", tmp_path, monkeypatch)
    text = printed(notebook)
    own, other, neutral = map(
        float,
        re.search(r"class named ([+-][\d.]+), of other classes ([+-][\d.]+), of none ([+-][\d.]+)", text).groups(),  # type: ignore[union-attr]
    )
    assert own > abs(neutral) and other < -abs(neutral)
    assert float(re.search(r"accuracy ([\d.]+)", text)[1]) > 0.9  # type: ignore[index]
    assert "Warning" not in text


def shown(notebook: Any) -> int:
    """How many figures of the report the cells show."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum(output.get("data", {}).get("text/html", "").startswith("<iframe ") for output in outputs)
