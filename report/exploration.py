"""Who met whom and who won: the exploration of the founding paper, as tables of the battles' models."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from battles.schema import MODELS, WINNERS

UNKNOWN = "unknown"
# A model with fewer battles is not ranked by its win rate, which is mostly luck.
RANKED_BATTLES = 30


@dataclass(frozen=True)
class Profile:
    """What the battles are like: how many have so many turns, a prompt in which script, a prompt asked how often.

    lengths: `prompt` and `response` → characters at the quantiles 5, 25, 50, 75 and 95 %. Empty where it is not known.
    """

    turns: dict[str, int]
    scripts: dict[str, int]
    repeated: dict[str, int]
    distinct_prompts: int
    lengths: dict[str, list[float]]


QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_MOST_TURNS = 8
_ASKED = ("once", "2 to 4 times", "5 to 19 times", "20 times or more")


def profile(folds: pd.DataFrame, features: pd.DataFrame, scripts: np.ndarray | None) -> Profile:
    """Counts of the battles of a fold table; features: their handcrafted columns, if any; scripts (n,) of prompts."""
    turns: dict[str, int] = {}
    if "prompt_turns" in features.columns:
        numbers = np.expm1(features["prompt_turns"].to_numpy()).round().astype(np.int64)
        counts = np.bincount(np.minimum(numbers, _MOST_TURNS))
        turns = {
            f"{number}{' or more' if number == _MOST_TURNS else ''}": int(count)
            for number, count in enumerate(counts)
            if count
        }
    lengths = {
        name: np.quantile(np.expm1(np.concatenate([features[column].to_numpy() for column in columns])), QUANTILES)
        for name, columns in (("prompt", ["prompt_length"]), ("response", ["chars_a", "chars_b"]))
        if set(columns) <= set(features.columns)
    }
    sizes = folds.groupby("group").size()
    places = np.select(
        [sizes == 1, sizes <= 4, sizes <= 19], ["once", "2 to 4 times", "5 to 19 times"], "20 times or more"
    )
    names = [] if scripts is None else [str(name) or "no letters" for name in scripts]
    return Profile(
        turns=turns,
        scripts={str(name): int(count) for name, count in pd.Series(names, dtype="str").value_counts().items()},
        repeated={name: int(sizes[places == name].sum()) for name in _ASKED if (places == name).any()},
        distinct_prompts=len(sizes),
        lengths={name: [float(value) for value in values] for name, values in lengths.items()},
    )


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

    Columns: `model`, `battles`, `win_rate`, `low`, `high` (95 %: Wilson's interval, which does not shrink to nothing
    where all of a few battles went one way), `ranked`: whether it has at least 30 battles. A model's battles against
    itself tell nothing and are left out.
    """
    met = battles[battles[MODELS[0]] != battles[MODELS[1]]]
    score_a = met[WINNERS[0]].to_numpy(dtype=np.float64) + met[WINNERS[2]].to_numpy(dtype=np.float64) / 2
    long = pd.DataFrame(
        {
            "model": np.concatenate([met[name].to_numpy(dtype=object) for name in MODELS]),
            "score": np.concatenate([score_a, 1 - score_a]),
        }
    )
    table = long.groupby("model")["score"].agg(battles="count", win_rate="mean").reset_index()
    table["low"], table["high"] = wilson(table["win_rate"].to_numpy(), table["battles"].to_numpy())
    table["ranked"] = table["battles"] >= RANKED_BATTLES
    return table.sort_values(["win_rate", "model"], ascending=[False, True], ignore_index=True)


def wilson(share: np.ndarray, count: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of shares of so many trials (Wilson 1927); with halves for ties it is a little too wide."""
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return centre - half, centre + half
