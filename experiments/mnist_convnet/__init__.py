"""Train a small binary ConvNet on MNIST and record how well it does."""
