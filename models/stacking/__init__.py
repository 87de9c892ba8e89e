"""The stacker: candidates on the bases' out-of-fold probabilities, tuned, compared and chosen on nested folds."""
