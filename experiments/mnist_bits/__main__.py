"""Start the experiment: ``python -m experiments.mnist_bits --data FOLDER``."""

from __future__ import annotations

import sys

from experiments.digit_nets.run import main
from experiments.mnist_bits.net import NET

if __name__ == "__main__":
    sys.exit(main(NET))
