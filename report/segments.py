"""Where a model is good and where it fails: log loss by kind of battle, with intervals."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from battles.schema import MODELS
from oof.metrics import paired_standard_error
from report.exploration import UNKNOWN

# A segment of fewer battles says nothing.
LEAST_BATTLES = 20
_QUARTERS = ("shortest quarter", "second quarter", "third quarter", "longest quarter")


def segments(
    battles: pd.DataFrame,
    folds: pd.DataFrame,
    features: pd.DataFrame,
    scripts: np.ndarray | None,
    ratings: Mapping[str, float],
) -> dict[str, np.ndarray]:
    """Kind → the segment of each of n battles, text (n,), empty where it is not known; only kinds that can be told.

    battles: winners and, if known, models. features: handcrafted columns (n rows), perhaps none. scripts (n,): of the
    prompts. ratings: model → log-odds, of models with enough battles.
    """
    known: dict[str, np.ndarray] = {}
    if scripts is not None:
        known["script of the prompt"] = np.where(scripts == "", "none", scripts)
    has = set(features.columns)
    if {"chars_a", "chars_b"} <= has:
        known["length of both responses"] = _quarters(
            np.expm1(features["chars_a"].to_numpy()) + np.expm1(features["chars_b"].to_numpy())
        )
    if "prompt_turns" in has:
        turns = np.expm1(features["prompt_turns"].to_numpy()).round()
        known["turns"] = np.select([turns <= 1, turns <= 2], ["one", "two"], "three or more")
    if {"code_fences_a", "code_fences_b", "prompt_asks_code"} <= has:
        code = (features[["code_fences_a", "code_fences_b"]] > 0).any(axis=1).to_numpy()
        known["code"] = np.where(code, "in a response", "in none")
    if {"refusal_a", "refusal_b"} <= has:
        refused = (features[["refusal_a", "refusal_b"]] > 0).sum(axis=1).to_numpy()
        known["refusal"] = np.select([refused == 0, refused == 1], ["neither", "one response"], "both")
    if {"identical"} <= has:
        known["responses"] = np.where(features["identical"].to_numpy() > 0, "identical", "differ")
    repeated = folds.groupby("group")["id"].transform("size").to_numpy()
    known["prompt"] = np.select([repeated == 1, repeated <= 4], ["asked once", "2 to 4 times"], "5 times or more")
    if set(MODELS) <= set(battles.columns):
        known |= _by_models(battles, folds["fold"].to_numpy(), ratings)
    return known


def _quarters(values: np.ndarray) -> np.ndarray:
    return np.array(_QUARTERS)[np.searchsorted(np.quantile(values, [0.25, 0.5, 0.75]), values)]


def _by_models(battles: pd.DataFrame, fold: np.ndarray, ratings: Mapping[str, float]) -> dict[str, np.ndarray]:
    a, b = (battles[name].to_numpy(dtype=object) for name in MODELS)
    named = (a != UNKNOWN) & (b != UNKNOWN)
    seen = pd.DataFrame({"model": np.concatenate([a, b]), "fold": np.concatenate([fold, fold])}).drop_duplicates()
    folds_of = seen.groupby("model")["fold"].nunique()
    # A model that occurs in one fold only was never seen by what predicts that fold.
    new = np.array([folds_of[x] == 1 or folds_of[y] == 1 for x, y in zip(a, b, strict=True)], dtype=bool)
    kinds = {"models": np.select([~named, new], ["a name is unknown", "one met in no other fold"], "both met before")}
    gap = np.array([abs(ratings.get(x, np.nan) - ratings.get(y, np.nan)) for x, y in zip(a, b, strict=True)])
    rated = ~np.isnan(gap)
    if rated.sum() >= 4 * LEAST_BATTLES:
        strength = np.full(len(gap), "", dtype=object)
        labels = np.array(["most equal quarter", "second quarter", "third quarter", "most unequal quarter"])
        strength[rated] = labels[np.searchsorted(np.quantile(gap[rated], [0.25, 0.5, 0.75]), gap[rated])]
        kinds["strength of the two models"] = strength.astype(str)
    return kinds


def losses_by(
    kinds: Mapping[str, np.ndarray], stack: np.ndarray, others: Mapping[str, np.ndarray], groups: np.ndarray
) -> pd.DataFrame:
    """Mean losses by segment: `kind, segment, battles, share, log_loss, low, high` of the stack, and one column each
    of `others` (prior, best base: losses (n,)). The interval is ± 1.96 standard errors, clustered by `groups`."""
    rows = []
    for kind, segment in kinds.items():
        names = [name for name in set(segment) - {""} if (segment == name).sum() >= LEAST_BATTLES]
        # Of one segment alone there is nothing to compare.
        for name in sorted(names, key=lambda name: _order(str(name))) if len(names) > 1 else ():
            part = segment == name
            mean = float(stack[part].mean())
            error = paired_standard_error(stack[part], np.zeros(int(part.sum())), groups[part])
            rows.append(
                {
                    "kind": kind,
                    "segment": str(name),
                    "battles": int(part.sum()),
                    "share": float(part.mean()),
                    "log_loss": mean,
                    "low": mean - 1.96 * error,
                    "high": mean + 1.96 * error,
                    **{other: float(losses[part].mean()) for other, losses in others.items()},
                }
            )
    columns = ["kind", "segment", "battles", "share", "log_loss", "low", "high", *others]
    return pd.DataFrame(rows, columns=columns)


def _order(name: str) -> tuple[int, str]:
    ordered = (*_QUARTERS[:1], "most equal quarter", "one", "second quarter", "two", "third quarter", "three or more")
    last = ("longest quarter", "most unequal quarter")
    return (ordered.index(name) if name in ordered else len(ordered) + (name in last), name)
