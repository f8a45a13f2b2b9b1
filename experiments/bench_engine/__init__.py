"""The engine beside other libraries and beside the ceiling of the machine."""
