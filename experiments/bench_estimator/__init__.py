"""Estimates of a network, cold and cached: how long they take."""
