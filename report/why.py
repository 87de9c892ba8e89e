"""Which inputs a stacker's predictions are made of, by family of features and one by one."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from features import length, position, similarity, verbosity
from report.inputs import Explanation

_FAMILIES = {
    "length": (*length.COUNTS, "pair_chars", "chars_apart"),
    "wording": verbosity.WORDING,
    "form: lists, headings, code, marks": verbosity.MARKS,
    "agreement with the prompt": (*position.AGREEMENT, *similarity.TO_PROMPT),
    "the prompt": position.PROMPT,
    "which response has more": position.PLACE,
    "likeness of the responses": similarity.PAIR,
    "strength of who writes like this": ("strength",),
}
BASES, DISAGREEMENT, CONSTANT, OTHER = "base models", "disagreement of the bases", "constant", "other columns"
_DISAGREEMENT = ("_position_tilt", "_order_gap")
_SPREADS = ("strongest_lead", "lead_spread", "tie_spread")


def family(name: str, bases: Sequence[str]) -> str:
    """The family of one of the stacker's inputs."""
    if name in bases or name == "margin":
        return BASES
    if name in _SPREADS or name.endswith(_DISAGREEMENT):
        return DISAGREEMENT
    if name == "constant":
        return CONSTANT
    return next((title for title, names in _FAMILIES.items() if name in names), OTHER)


def by_input(why: Explanation, bases: Sequence[str]) -> pd.DataFrame:
    """Columns `input, family, lead, tie, gain`: the mean absolute contribution over the battles drawn at random, the
    largest first; gain: the share of the trees' gain, NaN without trees."""
    sizes = np.abs(why.values[why.sampled]).mean(axis=0)
    table = pd.DataFrame(
        {
            "input": why.names,
            "family": [family(name, bases) for name in why.names],
            "lead": sizes[:, 0].astype(float),
            "tie": sizes[:, 1].astype(float),
            "gain": [why.gains.get(name, 0.0) if why.gains else np.nan for name in why.names],
        }
    )
    return _sorted(table[table["family"] != CONSTANT])


def by_family(why: Explanation, bases: Sequence[str]) -> pd.DataFrame:
    """Columns `family, inputs, lead, tie, gain`: mean absolute size of what a family of inputs adds together.

    What cancels inside of a family counts for nothing, so this is less than the sum of its inputs. gain: as `by_input`,
    added up.
    """
    families = np.array([family(name, bases) for name in why.names])
    rows = []
    for title in dict.fromkeys(families):
        if title != CONSTANT:
            together = np.abs(why.values[why.sampled][:, families == title].sum(axis=1)).mean(axis=0)
            names = [name for name, of in zip(why.names, families, strict=True) if of == title]
            gain = sum(why.gains.get(name, 0.0) for name in names) if why.gains else np.nan
            rows.append((str(title), len(names), float(together[0]), float(together[1]), gain))
    return _sorted(pd.DataFrame(rows, columns=["family", "inputs", "lead", "tie", "gain"]))


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    return table.iloc[np.argsort(-(table["lead"] + table["tie"]).to_numpy(), kind="stable")].reset_index(drop=True)
