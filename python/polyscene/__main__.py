"""``python -m polyscene`` is the command ``polyscene``."""

import sys

from polyscene.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
