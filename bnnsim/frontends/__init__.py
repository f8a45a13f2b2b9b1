"""Import trained networks from other formats; each front end returns a graph."""
