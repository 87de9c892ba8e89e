"""Seeded battles for the tests of the features: odd texts, and models whose style betrays their strength."""

import numpy as np
import pandas as pd

from battles.folds import make_folds
from battles.schema import WINNERS, Turns, to_json

ODD: list[Turns] = [
    [],
    [None],
    [""],
    [None, "", "last"],
    ["\ud800 alone", "pair \udc00\ud800"],
    ["שלום עולם, מה שלומך?", "مرحبا بالعالم"],
    ["你好，世界。这是一个例子。"],
    ["word " * 40_000],
    [f"turn {number}" for number in range(400)],
    ["# Title\n\n- one\n- two\n\n| a | b |\n|---|---|\n```python\nx = 1\n```\n**bold** 🎉"],
    ["I'm sorry, but as an AI language model I cannot help with that."],
    ["\r\n\t \x00 \x0b"],
    ["?"],
]


def table(rows: list[tuple[Turns, Turns, Turns]], votes: list[int] | None = None) -> pd.DataFrame:
    """A battles table of (prompt, response_a, response_b) and class numbers."""
    out = pd.DataFrame(
        {
            "id": [str(number) for number in range(len(rows))],
            "prompt": [to_json(row[0]) for row in rows],
            "response_a": [to_json(row[1]) for row in rows],
            "response_b": [to_json(row[2]) for row in rows],
        }
    )
    if votes is not None:
        out[list(WINNERS)] = np.eye(3, dtype=np.int8)[votes]
    return out


def odd() -> pd.DataFrame:
    """Every odd text beside every other."""
    return table([(ODD[(i + j) % len(ODD)], a, b) for i, a in enumerate(ODD) for j, b in enumerate(ODD) if i <= j])


def styled(count: int = 400, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Battles of six models, the stronger the more bullets and the fewer "well" it writes, and their folds."""
    rng = np.random.default_rng(seed)
    names = [f"model-{number}" for number in range(6)]
    rows, votes, authors = [], [], []

    def write(model: int, topic: str) -> str:
        lines = [f"well, {topic}"] * int(rng.integers(1, 8 - model)) + ["- a point"] * int(rng.integers(0, 2 + model))
        return "\n".join([*lines, " ".join(rng.choice(["blue", "green", "red", "grey"], size=8))])

    for _ in range(count):
        a, b = rng.choice(6, size=2, replace=False)
        topic = f"topic {rng.integers(120)}"
        rows.append(([topic], [write(a, topic)], [write(b, topic)]))
        chance = 1 / (1 + np.exp(0.9 * (b - a)))
        votes.append(2 if rng.random() < 0.15 else int(rng.random() > chance))
        authors.append((names[a], names[b]))
    battles = table(rows, votes)
    battles["model_a"], battles["model_b"] = zip(*authors, strict=True)
    return battles, make_folds(battles, 4, 2)
