"""Train the paper's MNIST network and record how well it does."""
