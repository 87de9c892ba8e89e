"""Metrics and figures drawn from the tables of a run."""
