"""What the MNIST experiments share: training, packaging, and the table of results."""
