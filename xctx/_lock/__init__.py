"""The shared lock: protocol, memory, names, waiting."""
