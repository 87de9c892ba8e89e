"""Base models (level 0) and the stacker (level 1)."""
