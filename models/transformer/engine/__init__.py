"""Training and prediction of one model, in one process or several."""
