"""Recipes against a server on this machine with a small archive: right, wrong, cut off, refused."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import socket
import stat
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from polyscene import datasets
from polyscene.datasets import _movielens, registry

RATINGS = [(u, i, 1 + (u * i) % 5, 880_000_000 + u * 100 + i) for u in range(1, 31) for i in range(1, 9)]
TITLES = {i: f"Film {i} ({1990 + i})" for i in range(1, 9)}


def files_100k() -> dict[str, bytes]:
    flags = {i: ["1" if k in (i, i + 3) else "0" for k in range(19)] for i in TITLES}
    return {
        "u.data": "".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in RATINGS).encode(),
        "u.user": "".join(f"{u}|{15 + u}|{'MF'[u % 2]}|artist|0{u:04d}\n" for u in range(1, 31)).encode(),
        "u.item": "".join(
            f"{i}|{title}\xe9|01-Jan-{1990 + i}||http://x|{'|'.join(flags[i])}\n" for i, title in TITLES.items()
        ).encode("latin-1"),
    }


def files_1m() -> dict[str, bytes]:
    return {
        "ratings.dat": "".join(f"{u}::{i}::{r}::{t}\n" for u, i, r, t in RATINGS).encode(),
        "users.dat": "".join(
            f"{u}::{'MF'[u % 2]}::{[18, 25, 35][u % 3]}::{u % 4}::0{u:04d}\n" for u in range(1, 31)
        ).encode(),
        "movies.dat": "".join(f"{i}::L'\xe9t\xe9: {title}::Drama|War\n" for i, title in TITLES.items()).encode(
            "latin-1"
        ),
    }


def files_csv() -> dict[str, bytes]:
    return {
        "ratings.csv": b"userId,movieId,rating,timestamp\n"
        + "".join(f"{u},{i},{r}.5,{t}\n" for u, i, r, t in RATINGS).encode(),
        "movies.csv": b"movieId,title,genres\n"
        + "".join(f'{i},"{t}",{"Drama|War" if i % 2 else "(no genres listed)"}\n' for i, t in TITLES.items()).encode(),
    }


FILES = {"ml-100k": files_100k, "ml-1m": files_1m, "ml-20m": files_csv, "ml-25m": files_csv}


def archive(folder: str, files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr(f"{folder}/README", "terms")
        for name, content in files.items():
            packed.writestr(f"{folder}/{name}", content)
    return out.getvalue()


@pytest.fixture
def server(monkeypatch):
    """Answers /name.zip with the archive, /wrong with other bytes, /cut with half of it; counts requests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    content: dict[str, bytes] = {}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            kind, body = self.path.strip("/"), content.get("archive", b"")
            if kind == "missing":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if kind == "wrong":
                body = b"x" * len(body)
            self.wfile.write(body[: len(body) // 2] if kind == "cut" else body)
            self.close_connection = True

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    running.content, running.asked = content, asked
    running.url = f"http://127.0.0.1:{running.server_port}"
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def publish(monkeypatch, server, name: str, *paths: str, body: bytes | None = None) -> bytes:
    """Makes the recipe's archive a small one that lies on the server."""
    body = archive(name, FILES[name]()) if body is None else body
    server.content["archive"] = body
    urls = tuple(path if "://" in path else f"{server.url}/{path}" for path in paths or ("right",))
    facts = {"urls": urls, "sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}
    monkeypatch.setitem(registry.RECIPES, name, dataclasses.replace(registry.RECIPES[name], **facts))
    return body


def refused() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/x.zip"


@pytest.mark.parametrize("name", list(FILES))
def test_a_download_is_loaded_once_and_shows_its_licence(name, server, monkeypatch, tmp_path, capsys):
    publish(monkeypatch, server, name)
    monkeypatch.setenv("POLYSCENE_DATA", str(tmp_path))
    data = datasets.load(name)
    shown = capsys.readouterr().err
    assert "research use" in shown
    assert "10.1145/2827872" in shown
    assert data.columns.rows == len(RATINGS)
    assert data.columns.label.sum().item() == sum(
        (r + (0.5 if name in ("ml-20m", "ml-25m") else 0)) >= 4 for _, _, r, _ in RATINGS
    )
    assert data.columns.time.tolist() == [t for *_, t in RATINGS]
    years = data.columns.ids[data.columns.categorical.index("release_year")].list()
    assert years == [str(1990 + i) for i in TITLES]
    assert server.asked == ["/right"]
    again = datasets.load(name)
    assert again.digest == data.digest
    assert server.asked == ["/right"]
    assert capsys.readouterr().err == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_files_are_joined_rightly(server, monkeypatch, tmp_path):
    publish(monkeypatch, server, "ml-100k")
    data = datasets.load("ml-100k", root=datasets.get("ml-100k", tmp_path).parent)
    columns = data.columns
    assert columns.numbers[:, 0].tolist() == [15 + u for u, *_ in RATINGS]
    interests, ends = columns.interest_ids.list(), columns.interest.offsets.tolist()
    for row in (0, 5, 100):
        item = RATINGS[row][1]
        wanted = [_movielens.GENRES_100K[item], _movielens.GENRES_100K[item + 3]]
        assert [interests[c] for c in columns.interest.values[ends[row] : ends[row + 1]].tolist()] == wanted
        assert columns.ids[6].list()[columns.codes[row, 6]] == wanted[0]
    assert columns.ids[4].list()[0] == "00001"


def test_mirrors_are_tried_in_turn(server, monkeypatch, tmp_path):
    publish(monkeypatch, server, "ml-100k", refused(), "missing", "wrong", "cut", "right")
    assert datasets.get("ml-100k", tmp_path) == tmp_path / "ml-100k"
    assert server.asked == ["/missing", "/wrong", "/cut", "/right"]


def test_each_failure_is_told_and_leaves_nothing(server, monkeypatch, tmp_path):
    body = publish(monkeypatch, server, "ml-100k", refused(), "missing", "wrong", "cut")
    with pytest.raises(ConnectionError) as caught:
        datasets.get("ml-100k", tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0] == "ml-100k: could not be downloaded:"
    assert "no connection" in lines[1]
    assert "Connection refused" in lines[1]
    assert lines[2].endswith("/missing: the server answered 404")
    wanted, given = hashlib.sha256(body).hexdigest(), hashlib.sha256(b"x" * len(body)).hexdigest()
    assert f"is another file: wanted sha256 {wanted}, got {given}" in lines[3]
    assert lines[4].endswith("/cut: the connection broke off")
    assert lines[5].endswith("`polyscene datasets get ml-100k --from-file ARCHIVE`")
    assert list(tmp_path.iterdir()) == []


def test_an_archive_can_be_given(server, monkeypatch, tmp_path):
    body = publish(monkeypatch, server, "ml-1m")
    (tmp_path / "got.zip").write_bytes(body)
    assert datasets.get("ml-1m", tmp_path / "root", from_file=tmp_path / "got.zip") == tmp_path / "root" / "ml-1m"
    assert datasets.load("ml-1m", root=tmp_path / "root").columns.scene_names == ["age<25", "25<=age<35", "age>=35"]
    (tmp_path / "got.zip").write_bytes(body[:-10])
    with pytest.raises(ValueError, match=rf"got.zip is cut off: wanted {len(body):,} bytes, got {len(body) - 10:,}"):
        datasets.get("ml-1m", tmp_path / "root", from_file=tmp_path / "got.zip")
    (tmp_path / "got.zip").write_bytes(b"y" * len(body))
    with pytest.raises(ValueError, match=r"got\.zip is another file: wanted sha256"):
        datasets.get("ml-1m", tmp_path / "root", from_file=tmp_path / "got.zip")
    with pytest.raises(FileNotFoundError, match=r"ml-1m: no file .*/none.zip"):
        datasets.get("ml-1m", tmp_path / "root", from_file=tmp_path / "none.zip")
    assert server.asked == []


def test_offline_asks_nobody(server, monkeypatch, tmp_path):
    publish(monkeypatch, server, "ml-100k")
    with pytest.raises(FileNotFoundError, match="and offline; get it first"):
        datasets.get("ml-100k", tmp_path, offline=True)
    datasets.get("ml-100k", tmp_path)
    assert datasets.get("ml-100k", tmp_path, offline=True) == tmp_path / "ml-100k"
    assert server.asked == ["/right"]


def evil(kind: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        if kind == "link":
            member = zipfile.ZipInfo("ml-100k/u.data")
            member.external_attr = (stat.S_IFLNK | 0o777) << 16
            packed.writestr(member, "/etc/hostname")
        elif kind == "empty":
            pass
        elif kind == "lacking":
            packed.writestr("ml-100k/u.data", "x")
        elif kind == "two":
            packed.writestr("ml-100k/u.data", "x")
            packed.writestr("other/u.data", "x")
        else:
            packed.writestr(kind, "x")
    return out.getvalue() if kind != "no zip" else b"PK but no zip"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("../evil.txt", "the member '../evil.txt' leads out of the folder"),
        ("/etc/evil.txt", "the member '/etc/evil.txt' leads out of the folder"),
        ("ml-100k/..\\..\\evil.txt", "leads out of the folder"),
        ("link", "the member 'ml-100k/u.data' is a link"),
        ("empty", "is empty"),
        ("lacking", "holds no ml-100k/u.user"),
        ("two", "wanted one top folder, got ml-100k, other"),
        ("no zip", "is no complete zip archive"),
    ],
)
def test_bad_archives_place_nothing(kind, message, server, monkeypatch, tmp_path):
    publish(monkeypatch, server, "ml-100k", body=evil(kind))
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        datasets.get("ml-100k", tmp_path / "root")
    assert message in str(caught.value)
    assert list((tmp_path / "root").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_a_root_without_the_files_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"ml-100k: .* holds neither ml-100k.inter nor u.data, u.user, u.item; `polyscene"
    ):
        datasets.load("ml-100k", root=tmp_path)


def test_names_and_facts():
    films, crossed = ["ml-100k", "ml-1m", "ml-20m", "ml-25m"], ["amazon-sport-phone", "amazon-sport-cloth"]
    others = ["douban-book-music", "movie-book", "text-sentiment", "digits"]
    assert datasets.list() == ["simulator", *films, *crossed, *others]
    facts = datasets.info("ml-1m")
    assert facts["rows"] == 1_000_209
    assert facts["size"] == 5_917_549
    assert all(len(datasets.info(name)["sha256"]) == 64 for name in films)
    with pytest.raises(
        ValueError, match=r"datasets: unknown data set 'ml-100'; known: simulator, .* did you mean 'ml-100k'\?"
    ):
        datasets.info("ml-100")
    with pytest.raises(ValueError, match="simulator: nothing to get"):
        datasets.get("simulator")


def test_a_configuration_names_a_data_set(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user_id,label\n" + "".join(f"{i % 7},{i % 2}\n" for i in range(50)))
    data = datasets.from_config({"name": "table", "data": str(path), "split": {"by": "random", "ratios": [8, 1, 1]}})
    assert len(data.train) == 40
    for block, message in [
        ({}, "dataset: wanted a name, got nothing; known: table, simulator, ml-100k"),
        ({"name": "tabel"}, "datasets: unknown data set 'tabel'"),
        ({"name": "table", "dat": "x"}, r"dataset: unknown key 'dat'; known keys: data, .* did you mean 'data'\?"),
        (
            {"name": "ml-100k", "scene": "x"},
            r"dataset: unknown key 'scene'; known keys: root, .* did you mean 'scenes'\?",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            datasets.from_config(block)
