"""Simulate binarized neural networks bit-exactly and estimate what they cost on hardware."""
