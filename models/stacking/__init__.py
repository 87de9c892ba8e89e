"""The stacker: candidates on out-of-fold probabilities and features, tuned and scored on nested folds."""
