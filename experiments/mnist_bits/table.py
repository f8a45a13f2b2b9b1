"""Write the result table of README.md: ``python -m experiments.mnist_bits.table``."""

from __future__ import annotations

from experiments.digit_nets.table import main
from experiments.mnist_bits.net import NET

if __name__ == "__main__":
    main(NET.folder)
