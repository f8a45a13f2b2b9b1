"""Write the result table of README.md: ``python -m experiments.mnist_convnet.table``."""

from __future__ import annotations

from experiments.digit_nets.table import main
from experiments.mnist_convnet.net import NET

if __name__ == "__main__":
    main(NET.folder)
