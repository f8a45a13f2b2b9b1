"""Other estimators and bnnsim on the same two layers."""
