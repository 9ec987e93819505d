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
