"""Whole networks with float residual streams beside their float twins in torch."""
