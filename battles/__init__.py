"""A battle: one prompt, two responses, one vote. Schema, reading, folds, prompt text, swap, the sample."""
