"""What a lowered graph costs on a hardware profile: counts, memory, energy, latency."""
