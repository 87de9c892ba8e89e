"""Who met whom and who won: the exploration of the founding paper, as tables of the battles' models."""

import numpy as np
import pandas as pd

from battles.schema import MODELS, WINNERS

UNKNOWN = "unknown"
# A model with fewer battles than this share of the median is not ranked: its win rate is mostly luck.
RANKED_SHARE = 0.25


def named(battles: pd.DataFrame) -> pd.DataFrame:
    """The battles of which both models are named, with models and winners only; none if the columns are missing."""
    if not set(MODELS) <= set(battles.columns):
        return pd.DataFrame({name: pd.Series(dtype="str") for name in MODELS} | {w: [] for w in WINNERS})
    known = (battles[list(MODELS)] != UNKNOWN).all(axis=1)
    return battles.loc[known, [*MODELS, *WINNERS]]


def appearances(battles: pd.DataFrame) -> pd.Series:
    """How often each model stands in a battle, in either place, the most frequent first; index: the model."""
    counts = pd.concat([battles[name] for name in MODELS], ignore_index=True).value_counts()
    table = counts.rename_axis("model").rename("battles").reset_index()
    return table.sort_values(["battles", "model"], ascending=[False, True]).set_index("model")["battles"]


def pairings(battles: pd.DataFrame) -> pd.DataFrame:
    """Battles of every two models that met, the most frequent first, whichever of them was A.

    Columns: `first`, `second` (in alphabetical order), `battles`, `first_wins`, `second_wins`, `ties`.
    """
    a, b = (battles[name].to_numpy(dtype=object) for name in MODELS)
    wins_a, wins_b, ties = (battles[name].to_numpy(dtype=np.int64) for name in WINNERS)
    kept = np.asarray(a <= b, dtype=bool)
    table = pd.DataFrame(
        {
            "first": np.where(kept, a, b),
            "second": np.where(kept, b, a),
            "battles": 1,
            "first_wins": np.where(kept, wins_a, wins_b),
            "second_wins": np.where(kept, wins_b, wins_a),
            "ties": ties,
        }
    )
    sums = table.groupby(["first", "second"], as_index=False).sum()
    return sums.sort_values(["battles", "first", "second"], ascending=[False, True, True], ignore_index=True)


def win_rates(battles: pd.DataFrame) -> pd.DataFrame:
    """Win rate of each model against the others it met, a tie counted as half a win, the highest first.

    Columns: `model`, `battles`, `win_rate`, `standard_error` (of the mean; NaN for a single battle), `ranked`: whether
    it has at least a quarter of the median number of battles. A model's battles against itself tell nothing and are
    left out.
    """
    met = battles[battles[MODELS[0]] != battles[MODELS[1]]]
    score_a = met[WINNERS[0]].to_numpy(dtype=np.float64) + met[WINNERS[2]].to_numpy(dtype=np.float64) / 2
    long = pd.DataFrame(
        {
            "model": np.concatenate([met[name].to_numpy(dtype=object) for name in MODELS]),
            "score": np.concatenate([score_a, 1 - score_a]),
        }
    )
    table = long.groupby("model")["score"].agg(battles="count", win_rate="mean", deviation="std").reset_index()
    table["standard_error"] = table.pop("deviation") / np.sqrt(table["battles"])
    table["ranked"] = table["battles"] >= RANKED_SHARE * table["battles"].median() if len(table) else False
    return table.sort_values(["win_rate", "model"], ascending=[False, True], ignore_index=True)
