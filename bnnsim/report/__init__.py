"""Results as text tables and as a self-contained HTML page; reads plain data only."""
