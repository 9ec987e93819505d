"""README and docs: code runs, commands end well, C++ is that of the example, links lead somewhere.

The Python blocks of one document are one program, in an empty folder; lines of shell blocks that start with
``polyscene`` run in their place, and a block of JSON becomes the file that the text last named. A comment before a
block says why it does not run: ``<!-- not run: ... -->``, or what it needs: ``<!-- needs ml-100k -->``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import polyscene
import pytest

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCUMENTS = sorted(
    path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "datasets").glob("*.md")]
)
BLOCK = re.compile(r"(?:^<!-- (?P<mark>.*?) -->\n)?^```(?P<kind>[\w+]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
PREAMBLE = """
def _command(line):
    import shlex
    from polyscene.cli import main
    code = main(shlex.split(line)[1:])
    assert code == 0, f"{line} ended with {code}"
"""

every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def program(text: str, data: str | None) -> str:
    """The blocks of a document as one Python program, each at its own line."""
    lines: list[str] = []
    for block in BLOCK.finditer(text):
        mark, kind, code = block["mark"] or "", block["kind"], block["code"]
        if mark.startswith("not run") or (mark.startswith("needs") and data is None):
            continue
        if kind == "bash":
            code = "".join(f"_command({line!r})\n" for line in code.splitlines() if line.startswith("polyscene "))
        elif kind == "jsonc":
            named = re.findall(r"`(\w+\.json)`", text[: block.start()])
            code = f"open({named[-1]!r}, 'w').write({code!r})\n" if named else ""
        elif kind != "python":
            continue
        at = text.count("\n", 0, block.start("code"))
        lines += [""] * (at - len(lines)) + code.splitlines()
    return "\n".join(lines) + "\n"


RUNNABLE = [path for path in DOCUMENTS if re.search(r"^(```python|polyscene )", path.read_text(), re.MULTILINE)]


@pytest.mark.parametrize("path", RUNNABLE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_code_of_a_document_runs(path: Path, tmp_path: Path) -> None:
    data = os.environ.get("POLYSCENE_TEST_DATA")
    script = tmp_path / path.with_suffix(".py").name
    code = program(path.read_text(), data)
    if not code.strip():
        pytest.skip("nothing to run without POLYSCENE_TEST_DATA")
    script.write_text(code)
    (tmp_path / "sitecustomize.py").write_text("import builtins\n" + PREAMBLE + "builtins._command = _command\n")
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    package = Path(polyscene.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{package}", "PYTHONWARNINGS": "error::UserWarning"}
    environment |= {} if data is None else {"POLYSCENE_DATA": data}
    done = subprocess.run(
        [sys.executable, script.name], cwd=tmp_path, env=environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def test_the_program_of_a_document_keeps_lines_and_marks() -> None:
    text = "a\n```python\nx = 1\n```\n<!-- not run: no -->\n```python\nboom\n```\n"
    text += "The file `c.json`:\n```jsonc\n{}\n```\n"
    text += "<!-- needs ml-100k -->\n```bash\npolyscene run\nls\n```\n"
    assert program(text, None) == "\n\nx = 1\n\n\n\n\n\n\n\nopen('c.json', 'w').write('{}\\n')\n"
    assert program(text, "here").endswith("\n_command('polyscene run')\n")


@every_document
def test_the_cpp_of_a_document_is_that_of_the_example(path: Path) -> None:
    sources = "\n".join(source.read_text() for source in sorted((ROOT / "examples" / "cpp").iterdir()))
    for block in BLOCK.finditer(path.read_text()):
        if block["kind"] in ("cpp", "cmake"):
            assert block["code"] in sources, block["code"]


@every_document
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        place = (path.parent / file) if file else path
        assert place.exists(), target
        if anchor and place.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", place.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, target


@every_document
def test_nothing_is_left_to_fill_in(path: Path) -> None:
    assert not re.search(r"@[A-Z]+@|TODO|FIXME", path.read_text())


def test_the_readme_has_the_commands_that_continuous_integration_runs() -> None:
    lines = README.read_text().splitlines()
    assert "pip install . && polyscene run" in lines
    assert 'pip install ".[test]" && pytest' in lines
    assert len([line for line in lines if line.startswith("apt-get install -y ")]) == 1


def test_the_picture_of_the_report_is_small() -> None:
    pictures = list((ROOT / "docs" / "images").iterdir())
    assert {path.name for path in pictures} >= {"report.png"}
    assert all(path.stat().st_size < 400_000 for path in pictures)


def test_extras_and_models_of_the_readme_are_those_of_the_package() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = README.read_text()
    assert set(re.findall(r"^\| `polyscene\[(\w+)\]`", text, re.MULTILINE)) == set(extras)
    models = text.partition("## Models")[2].partition("\n## ")[0]
    registry = (ROOT / "csrc" / "polyscene" / "models" / "registry.cpp").read_text()
    cells = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", models, re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert named == set(re.findall(r'entry<\w+, \w+>\(\s*"(\w+)"', registry))
