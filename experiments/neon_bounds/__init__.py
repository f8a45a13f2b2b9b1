"""What the inner loops of the NEON kernels can reach at most, by the models of Arm's cores."""
