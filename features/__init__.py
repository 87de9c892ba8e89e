"""Handcrafted columns of a battle, one module per family."""
