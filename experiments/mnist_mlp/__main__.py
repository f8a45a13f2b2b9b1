"""Start the experiment: ``python -m experiments.mnist_mlp --data FOLDER``."""

from __future__ import annotations

import sys

from experiments.mnist_mlp.run import main

if __name__ == "__main__":
    sys.exit(main())
