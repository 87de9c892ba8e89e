"""Figures that others have published for the same task, to stand beside a run's. None of them is of a run's battles."""

from dataclasses import dataclass

PAPER = "founding paper, hidden test set"


@dataclass(frozen=True)
class Published:
    """A published figure: log loss (nats), of which battles, and what it took where that is known."""

    name: str
    log_loss: float
    battles: str
    training: str = ""
    prediction: str = ""
    device: str = ""


# "Predicting Human Preferences for LLM responses" (University of Colorado Denver, 2024), the table of its results; its
# prediction times are of three rows. Then what is known of the competition's public notebooks and winners.
FIGURES = (
    Published("RoBERTa", 1.53425, PAPER, "4 min 12 s", "", "2 × T4"),
    Published("Llama, LoRA", 1.16277, PAPER, "2 h 3 min", "5 s, 3 rows", "TPU v3-8"),
    Published("Gemma 2 9B, LoRA, swap TTA", 1.02547, PAPER, "1 h 36 min", "3 s, 3 rows", "TPU v3-8"),
    Published("length-only logistic regression", 1.065, "competition's battles, by prompt"),
    Published("LightGBM on TF-IDF and length", 1.0404, "competition's battles, 5 folds"),
    Published("best public booster, no language model", 1.011, "public leaderboard"),
    Published("Gemma 2 9B, QLoRA, public notebook", 0.941, "public leaderboard"),
    Published("best public ensemble", 0.899, "public leaderboard"),
    Published("1st place, distilled Gemma 2 9B", 0.969, "private leaderboard (replaced test set)"),
)
# Style alone, on 98,000 decisive battles of a later set of the Arena.
STYLE_AUC = 0.656
EQUAL_LOG_LOSS = 1.0986
