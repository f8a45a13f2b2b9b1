"""First predictions for published chips, kept as they came out."""
