"""Run a graph bit-exactly: the numpy reference, and the compiled engine held against it."""
