"""The command line: ``polyscene run``, ``evaluate``, ``predict``, ``recommend``, ``report``, ``compare``, ..."""

from polyscene.cli.main import main

__all__ = ["main"]
