"""Binary matrix products against float32 and against the ceiling of the machine."""
