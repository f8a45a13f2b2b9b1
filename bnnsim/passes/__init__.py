"""Graph -> Graph rewrites, one per file; each keeps every output bit for bit."""
