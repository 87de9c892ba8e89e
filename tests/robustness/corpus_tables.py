"""Tables of predictions made elsewhere for `make stack TABLE=`, good and malformed, made in code."""

import io
from dataclasses import dataclass

import numpy as np
import pandas as pd

from battles.schema import WINNERS

ROWS = 60


@dataclass(frozen=True)
class Predictions:
    """A table's file name and bytes, the bases and features that are asked of it, and whether it is a good one."""

    raw: bytes
    good: bool = False
    file: str = "table.parquet"
    bases: str = "one,two"
    features: str = ""


def table() -> pd.DataFrame:
    """A good table of the bases one and two with a fold, a group and the features length_a, length_b and depth."""
    rng = np.random.default_rng(4)
    found = pd.DataFrame({"id": [f"b{number}" for number in range(ROWS)], "label": np.arange(ROWS) % 3})
    for base in ("one", "two"):
        found[columns(base)] = rng.dirichlet([2.0, 2.0, 2.0], ROWS)
    found["fold"], found["group"] = np.arange(ROWS) % 4, [f"g{number}" for number in range(ROWS)]
    found["length_a"], found["length_b"], found["depth"] = rng.random(ROWS), rng.random(ROWS), rng.random(ROWS)
    return found


def columns(base: str) -> list[str]:
    return [f"{base}_{name}" for name in WINNERS]


def as_parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def _with(column: str, value: object, row: int = 7) -> bytes:
    """The good table but for one cell."""
    changed = table()
    cells = changed[column].tolist()
    cells[row] = value
    return as_parquet(changed.assign(**{column: cells}))


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def tables() -> dict[str, Predictions]:
    """The corpus of tables by name."""
    return _good() | _bad_columns() | _bad_cells() | _bad_files()


def _good() -> dict[str, Predictions]:
    whole, features = table(), "length_a,length_b,depth"
    uncovered = whole.copy()
    uncovered.loc[:9, columns("two")] = np.nan
    rounded = whole.copy()
    rounded[columns("one")] = rounded[columns("one")].round(4)
    return {
        "as it is": Predictions(as_parquet(whole), True),
        "features": Predictions(as_parquet(whole), True, features=features),
        "one base": Predictions(as_parquet(whole), True, bases="two"),
        "CSV": Predictions(_csv(whole), True, "table.csv", features=features),
        "neither folds nor groups": Predictions(as_parquet(whole.drop(columns=["fold", "group"])), True),
        "no folds": Predictions(as_parquet(whole.drop(columns="fold")), True),
        "rows that a base did not score": Predictions(as_parquet(uncovered), True),
        "rounded probabilities": Predictions(as_parquet(rounded), True),
        "integer ids": Predictions(as_parquet(whole.assign(id=np.arange(ROWS))), True),
        "single precision": Predictions(as_parquet(whole.astype(dict.fromkeys(columns("one"), "float32"))), True),
        "an index of its own": Predictions(as_parquet(whole.set_index(np.arange(ROWS) * 3)), True),
        "labels 0.0, 1.0, 2.0": Predictions(as_parquet(whole.assign(label=whole["label"].astype(float))), True),
    }


def _bad_columns() -> dict[str, Predictions]:
    whole = table()
    found = {
        f"without {name}": Predictions(as_parquet(whole.drop(columns=name)))
        for name in ("id", "label", *columns("one"), *columns("two"))
    }
    found |= {
        f"{name} of text": Predictions(as_parquet(whole.assign(**{name: "x"})))
        for name in ("label", "fold", columns("one")[1])
    }
    return found | {
        "a base that is not there": Predictions(as_parquet(whole), bases="one,three"),
        "a base twice": Predictions(as_parquet(whole), bases="one,one"),
        "no base": Predictions(as_parquet(whole), bases=""),
        "a base named stack": Predictions(as_parquet(whole), bases="stack"),
        "a base with a slash": Predictions(as_parquet(whole), bases="../one"),
        "a feature that is not there": Predictions(as_parquet(whole), features="height"),
        "a feature of text": Predictions(as_parquet(whole), features="group"),
        "null ids": Predictions(as_parquet(whole.assign(id=None))),
        "one id for all": Predictions(as_parquet(whole.assign(id="b"))),
        "no rows": Predictions(as_parquet(whole.head(0))),
        "probabilities of zero": Predictions(as_parquet(whole.assign(**dict.fromkeys(columns("one"), 0.0)))),
        "percentages": Predictions(as_parquet(whole.assign(**{n: whole[n] * 100 for n in columns("one")}))),
        "log-probabilities": Predictions(as_parquet(whole.assign(**{n: np.log(whole[n]) for n in columns("one")}))),
        "no row that both bases scored": Predictions(as_parquet(whole.assign(**dict.fromkeys(columns("one"), np.nan)))),
    }


def _bad_cells() -> dict[str, Predictions]:
    probability = columns("two")[0]
    cells: dict[str, tuple[str, object]] = {
        "a label of 3": ("label", 3),
        "a label of -1": ("label", -1),
        "a label of 1.5": ("label", 1.5),
        "a label of NaN": ("label", np.nan),
        "an infinite label": ("label", np.inf),
        "a probability of NaN": (probability, np.nan),
        "a probability of 2": (probability, 2.0),
        "a negative probability": (probability, -0.25),
        "an infinite probability": (probability, np.inf),
        "an id twice": ("id", "b3"),
        "a fold of -1": ("fold", -1),
        "a fold of 0.5": ("fold", 0.5),
        "a fold of NaN": ("fold", np.nan),
    }
    found = {name: Predictions(_with(*cell)) for name, cell in cells.items()}
    return found | {
        "a feature of NaN": Predictions(_with("depth", np.nan), features="depth"),
        "an infinite feature": Predictions(_with("depth", -np.inf), features="depth"),
    }


def _bad_files() -> dict[str, Predictions]:
    good = as_parquet(table())
    return {
        "empty Parquet": Predictions(b""),
        "Parquet cut off": Predictions(good[: len(good) // 2]),
        "Parquet without its end": Predictions(good[:-1]),
        "a CSV named Parquet": Predictions(_csv(table())),
        "empty CSV": Predictions(b"", file="table.csv"),
        "a CSV of a header": Predictions(_csv(table().head(0)), file="table.csv"),
        "Parquet named CSV": Predictions(good, good=True, file="table.csv"),
        "a CSV of ragged rows": Predictions(
            _csv(table()) + b"1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16\n", file="table.csv"
        ),
        "a CSV of UTF-16": Predictions(_csv(table()).decode().encode("utf-16"), file="table.csv"),
        "NUL bytes": Predictions(bytes(400), file="table.csv"),
    }
