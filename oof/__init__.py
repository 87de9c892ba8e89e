"""The out-of-fold table: the one currency between the base models and the stacker."""
