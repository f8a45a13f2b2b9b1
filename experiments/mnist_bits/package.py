"""Package the trained network: ``python -m experiments.mnist_bits.package --data FOLDER``."""

from __future__ import annotations

import sys

from experiments.digit_nets.package import main
from experiments.mnist_bits.net import NET

if __name__ == "__main__":
    sys.exit(main(NET))
