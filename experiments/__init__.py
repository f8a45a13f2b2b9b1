"""One folder per experiment; each runs as ``python -m experiments.NAME``."""
