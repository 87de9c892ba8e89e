"""The thin scripts that `make` runs: arguments, paths, params; the logic lives in the other packages."""
