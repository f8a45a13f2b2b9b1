"""``python -m bnnsim`` is the same as ``bnnsim``."""

import sys

from bnnsim.cli import main

if __name__ == "__main__":
    sys.exit(main())
