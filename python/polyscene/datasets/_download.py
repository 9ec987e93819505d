"""Archives from the network to a folder: mirrors, sha256, safe extraction, atomic placement."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

log = logging.getLogger("polyscene")
TIMEOUT = 30  # seconds without an answer


def sha256(path: Path) -> str:
    """sha256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cache_root() -> Path:
    """Where data sets go when no folder is given: ``POLYSCENE_DATA``, else the user's cache folder."""
    import pooch

    given = os.environ.get("POLYSCENE_DATA")
    return Path(given) if given else Path(pooch.os_cache("polyscene"))


def check_archive(name: str, path: Path, wanted: str, size: int) -> None:
    """Compares an archive with what its publisher gave out.

    Raises:
        ValueError: it is cut off or another file.
    """
    given = path.stat().st_size
    if given < size:
        raise ValueError(f"{name}: {path} is cut off: wanted {size:,} bytes, got {given:,}; copy or download it again")
    digest = sha256(path)
    if digest != wanted:
        raise ValueError(
            f"{name}: {path} is another file: wanted sha256 {wanted}, got {digest}; get it from its publisher"
        )


def download(name: str, urls: Sequence[str], wanted: str, size: int, folder: Path) -> Path:
    """Downloads an archive from the first mirror that gives the right file.

    Args:
        name: the data set.
        urls: where the archive lies; tried in this order.
        wanted: its sha256.
        size: its size in bytes.
        folder: where to put it.

    Raises:
        ConnectionError: no mirror gave the right file; the message says what each one did.
    """
    import pooch
    import requests

    folder.mkdir(parents=True, exist_ok=True)
    problems = []
    for url in urls:
        log.info("%s: downloading %s (%.1f MB)", name, url, size / 1e6)
        try:
            found = pooch.retrieve(
                url,
                known_hash=None,  # compared below, with a message of our own
                fname=f"{name}.zip.part",
                path=folder,
                downloader=pooch.HTTPDownloader(timeout=TIMEOUT),
            )
            check_archive(name, Path(found), wanted, size)
        except requests.exceptions.HTTPError as error:
            problems.append(f"{url}: the server answered {getattr(error.response, 'status_code', 'nothing')}")
        except requests.exceptions.Timeout:
            problems.append(f"{url}: no answer within {TIMEOUT} s")
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
            problems.append(f"{url}: the connection broke off")
        except requests.exceptions.SSLError as error:
            problems.append(f"{url}: the server's certificate is not valid ({_root_cause(error)})")
        except requests.exceptions.ConnectionError as error:
            problems.append(f"{url}: no connection ({_root_cause(error)})")
        except ValueError as error:
            problems.append(f"{url}: {str(error).removeprefix(f'{name}: ')}")
        else:
            final = folder / f"{name}.zip"
            os.replace(found, final)
            return final
        (folder / f"{name}.zip.part").unlink(missing_ok=True)
    raise ConnectionError(
        f"{name}: could not be downloaded:\n  "
        + "\n  ".join(problems)
        + "\nget the archive in another way and give it with "
        f"`polyscene datasets get {name} --from-file ARCHIVE`"
    )


def _root_cause(error: BaseException) -> str:
    inner: Any = error
    while (below := getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)) is not None:
        if not isinstance(below, BaseException):
            break
        inner = below
    return str(inner).split("> ")[-1].split("): ")[-1]


def extract(name: str, archive: Path, root: Path, wanted: Sequence[str]) -> Path:
    """Unpacks an archive with one top folder into ``root``, at once or not at all.

    Args:
        name: the data set.
        archive: a zip file whose members lie in one folder.
        root: where that folder goes.
        wanted: files that the folder must hold.

    Returns:
        The folder.

    Raises:
        ValueError: the archive is damaged, leads out of the folder, holds links, or lacks a file.
    """
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".unpack-") as scratch:
        try:
            with zipfile.ZipFile(archive) as packed:
                members = packed.infolist()
                _check_members(name, archive, members)
                packed.extractall(scratch)
        except (zipfile.BadZipFile, EOFError) as error:
            raise ValueError(f"{name}: {archive} is no complete zip archive ({error})") from error
        tops = {PurePosixPath(member.filename).parts[0] for member in members}
        if len(tops) != 1:
            raise ValueError(f"{name}: {archive}: wanted one top folder, got {', '.join(sorted(tops))}")
        top = tops.pop()
        for file in wanted:
            if not (Path(scratch) / top / file).is_file():
                raise ValueError(f"{name}: {archive} holds no {top}/{file}")
        target = root / top
        if target.exists():
            shutil.rmtree(target)
        os.replace(Path(scratch) / top, target)
    return target


def _check_members(name: str, archive: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    if not members:
        raise ValueError(f"{name}: {archive} is empty")
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
            raise ValueError(f"{name}: {archive}: the member {member.filename!r} leads out of the folder")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ValueError(f"{name}: {archive}: the member {member.filename!r} is a link")
