"""Write networks as files for other tools."""
