"""Readers of example data; numpy only."""
