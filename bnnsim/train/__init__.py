"""Torch layers, optimizer and loop that train binary networks."""
