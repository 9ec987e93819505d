"""The command line: ``polyscene run | evaluate | predict | recommend | report | compare | reproduce | models | datasets | doctor``."""

from polyscene.cli.main import main

__all__ = ["main"]
