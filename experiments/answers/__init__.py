"""What binarization costs and saves, as tables with intervals."""
