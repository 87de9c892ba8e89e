"""What a base will take before it is loaded: checks, memory, time, disk."""
