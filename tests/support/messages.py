"""Messages of errors, compared whole."""

from __future__ import annotations

MODELS = "interest_migration, *, logistic, popularity, mf"
"""The list of known models, as messages give it."""


def check(error: BaseException, wanted: str) -> None:
    """The whole text, on one line, without the stack of C++; * stands for anything."""
    given = str(error)
    assert "\n" not in given and "Exception raised from" not in given and "incompatible function arguments" not in given
    assert "json.exception" not in given
    if "*" not in wanted:
        assert given == wanted
        return
    rest = given
    for i, part in enumerate(wanted.split("*")):
        assert part in rest and (i > 0 or rest.startswith(part)), given
        rest = rest[rest.index(part) + len(part) :]
    assert wanted.endswith("*") or rest == "", given
