"""Hardware profiles shipped with bnnsim, one YAML file per target."""
