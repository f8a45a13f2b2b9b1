"""Products of few bits: planes against bytes."""
