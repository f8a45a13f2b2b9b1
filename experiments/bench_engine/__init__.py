"""The engine beside other libraries and beside the ceiling of the machine."""

import os

# Read by the BLAS and OpenMP libraries of all contenders when numpy is first imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
