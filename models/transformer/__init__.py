"""The `transformer` base kind: a sequence classifier fine-tuned on battles, from settings to out-of-fold rows."""
