"""A small run on disk, as the steps before the report leave it: battles, folds, features, predictions, curves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from battles.files import write_json, write_table
from battles.schema import MODELS, WINNERS
from battles.swap import swap_probabilities
from features.drift import Drift
from oof import table
from oof.learning_curve import SHARES, LearningCurve
from oof.table import STACK
from report.browser import choose
from report.gap import reached
from report.inputs import Explanation, Extras, Inputs, Learning, StudyTrials
from report.scores import score
from report.splits import spread

RUN = "try"
BASES = ("roberta", "tfidf")
NAMES = ("gpt-4", "claude-1", "<b>bold</b> & co", "cost-$5-$10", "unknown", "模型-α", "rare\x00\n\x1bname")


def softmax(values: np.ndarray) -> np.ndarray:
    exponents = np.exp(values - values.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def battles(rows: int, seed: int = 0, names: tuple[str, ...] = NAMES) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Battles, log(1 + characters) (rows, 2), and the logits (rows, 3) that their votes were drawn from."""
    rng = np.random.default_rng(seed)
    lengths = np.log1p(np.round(np.exp(rng.normal(6.5, 1, (rows, 2)))))
    models = rng.choice(len(names), (rows, 2), p=(weights := 1 / np.arange(1, len(names) + 1)) / weights.sum())
    strength = rng.normal(0, 0.5, len(names))[models]
    lead = 0.3 * (lengths[:, 0] - lengths[:, 1]) + strength[:, 0] - strength[:, 1] + rng.normal(0, 0.8, rows) + 0.05
    logits = np.stack([lead / 2, -lead / 2, np.full(rows, -0.1)], axis=1)
    votes = np.array([rng.choice(3, p=row) for row in softmax(logits)])
    voted = pd.DataFrame({"id": [f"{1000 + row}<i>" for row in range(rows)]})
    for place, column in enumerate(MODELS):
        voted[column] = np.array(names, dtype=object)[models[:, place]]
    for text in ("prompt", "response_a", "response_b"):
        voted[text] = json.dumps(["SECRET TEXT", None])
    for number, winner in enumerate(WINNERS):
        voted[winner] = (votes == number).astype(np.int8)
    return voted, lengths, logits


def curve(steps: int, epochs: int, rng: np.random.Generator) -> pd.DataFrame:
    step = np.arange(1, steps + 1)
    valid = np.full(steps, np.nan)
    ends = [steps * (epoch + 1) // epochs - 1 for epoch in range(epochs)]
    valid[ends] = 1.03 + 0.05 / np.arange(1, epochs + 1)
    loss = 1 + 0.4 * np.exp(-4 * step / steps) + rng.normal(0, 0.1, steps)
    return pd.DataFrame(
        {"step": step, "epoch": step * epochs // (steps + 1) + 1, "loss": loss, "valid_log_loss": valid}
    )


def features(voted: pd.DataFrame, lengths: np.ndarray) -> pd.DataFrame:
    """The columns of the feature table that a report looks at, and one that it does not."""
    rng = np.random.default_rng(2)
    columns = {"chars_a": lengths[:, 0], "chars_b": lengths[:, 1], "other": np.zeros(len(voted))}
    for side, chars in zip("ab", lengths.T, strict=True):
        columns |= {f"words_{side}": np.maximum(chars - 1.7, 0), f"lines_{side}": np.maximum(chars - 4, 0)}
        for name in ("bullets", "numbered", "headings", "bold", "code_fences", "refusal"):
            columns[f"{name}_{side}"] = rng.integers(0, 3, len(voted)) / 2
    columns |= {
        "prompt_turns": np.log1p(rng.integers(1, 4, len(voted))),
        "prompt_length": rng.uniform(2, 8, len(voted)),
    }
    columns |= {"prompt_asks_code": rng.integers(0, 2, len(voted)), "identical": np.zeros(len(voted))}
    table = pd.DataFrame(columns).astype("float32")
    table.insert(0, "id", voted["id"])
    return table


def explanation(rows: np.ndarray) -> Explanation:
    """Contributions of some rows, half of which stand for all."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(len(rows), 4, 2))
    return Explanation(
        rows=rows,
        sampled=np.arange(len(rows)) % 2 == 0,
        names=("constant", "roberta", "words", "<i>odd</i>"),
        values=values,
        exchanged=values * (-1, 1),
        weights={"roberta": {"lead": 0.5, "tie": 0.4}},
        gains={"roberta": 0.25, "words": 0.75},
    )


def over_splits(rows: int) -> dict[str, Any]:
    """Figures over three splits, of the stack and of a base with a hostile name."""
    rng = np.random.default_rng(11)
    losses = {seed: {name: rng.gamma(2.0, 0.5, rows) for name in (STACK, "tfidf & <b>")} for seed in (20, 21, 22)}
    return {"seeds": list(losses), "models": spread(losses, np.arange(rows), STACK)}


def learning(rows: int) -> Learning:
    """A curve of two models whose losses fall by 0.2 and by 0.1 from a quarter to all battles."""
    rng = np.random.default_rng(4)
    base = rng.uniform(0.8, 1.2, rows)
    falls = {"tfidf alone": 0.2, "tfidf & <b>columns</b>": 0.1}
    losses = {
        name: np.stack([base + fall * (1 - share) / 0.75 + rng.normal(0, 0.02, rows) for share in SHARES])
        for name, fall in falls.items()
    }
    curve = LearningCurve(SHARES, np.array(SHARES) * rows * 0.8, np.arange(rows), losses, 2)
    return Learning(curve, np.arange(rows) // 2, "tfidf alone: fitted again.")


def everything(inputs: Inputs, with_texts: bool = True) -> Extras:
    """Everything that a report can tell beside the tables."""
    columns = pd.DataFrame({"column": ["words_a"], "auc": [0.8], "train": [1.0], "test": [2.0]})
    trials = pd.DataFrame(
        {
            "number": range(12),
            "state": ["COMPLETE"] * 11 + ["PRUNED"],
            "value": np.linspace(1.1, 1.0, 12),
            "rounds": 9,
            "seconds": 1.0,
            "num_leaves": range(3, 15),
            "extra_trees": [True, False] * 6,
        }
    )
    return Extras(
        made="2024-12-01 12:00 UTC",
        facts=[("training battles", "data/train.csv, sha256 0123"), ("processor", "a <b>fast</b> one")],
        settings={"stack": {"trials": 3, "learning_rate": [0.02, 0.1]}},
        dots={"roberta": 512},
        explanation=explanation(np.unique(np.concatenate([*choose(inputs).values()]))),
        studies=[StudyTrials("residual booster, all battles [6a1c775a]", trials, {"num_leaves": 0.7}, 4)],
        learning=[learning(len(inputs.battles))],
        splits=over_splits(len(inputs.battles)),
        reached=reached(
            {STACK: np.tile([0.5, 0.3, 0.2], (4, 1)), **dict.fromkeys(inputs.bases, np.tile([0.4, 0.3, 0.3], (4, 1)))},
            np.tile([0.6, 0.3, 0.1], (4, 1)),
            np.full(3, 1 / 3),
        ),
        drift=Drift(0.8, 0.02, columns),
        test_battles=70,
        with_texts=with_texts,
    )


def write_run(
    root: Path,
    voted: pd.DataFrame,
    lengths: np.ndarray,
    logits: np.ndarray,
    bases: tuple[str, ...] = BASES,
    covered: tuple[int, ...] = (0, 1, 2, 3, 4),
    curves: tuple[str, ...] = ("roberta",),
) -> None:
    """Writes the run `try` below `root`; the first base covers all folds, the others and the stack only `covered`."""
    rng = np.random.default_rng(1)
    rows = len(voted)
    folds = pd.DataFrame({"id": voted["id"], "fold": np.arange(rows) % 5, "group": (np.arange(rows) // 2).astype(str)})
    write_table(root / "battles" / RUN / "train.parquet", voted)
    write_table(root / "battles" / RUN / "folds.parquet", folds)
    params = root / "battles" / RUN / "params"
    write_json(params / "run.json", {"bases": list(bases), "folds": None}, sealed=True)
    write_table(root / "features" / RUN / "train.parquet", features(voted, lengths))
    oof = root / "oof" / RUN
    common = folds["fold"].isin(covered).to_numpy()
    predicted = {}
    for number, name in enumerate((*bases, "stack")):
        noise = 0.0 if name == "stack" else 0.7 + 0.2 * number
        noisy = logits + rng.normal(size=logits.shape) * noise
        bias = np.array([0.2, -0.2, 0.0])
        plain = softmax(noisy + bias)
        swapped = swap_probabilities(softmax(swap_probabilities(noisy) + bias))
        mean = (plain + swapped) / 2 if name != "stack" else softmax(noisy)
        predicted[name] = mean[common]
        variants = {table.MEAN: mean, table.PLAIN: plain, table.SWAPPED: swapped} if name == "roberta" else {"": mean}
        if number:
            variants = {key: np.where(common[:, None], values, np.nan) for key, values in variants.items()}
        table.write(oof / f"{name}.parquet", folds, variants, {"base": name, "bases": list(bases)})
    votes = voted[list(WINNERS)].to_numpy().argmax(axis=1)[common]
    prior = np.tile(np.bincount(votes, minlength=3) / len(votes), (len(votes), 1))
    figures = score(predicted | {"prior": prior}, votes, "stack", {"roberta": 12.5})
    candidates = {name: figures.pop(name) for name in ("prior", "stack")}
    candidates["booster"] = dict(candidates["stack"])
    scores = {"battles": rows, "covered": int(common.sum()), "bases": figures, "candidates": candidates}
    lost = {name: {"change": 0.01, "standard_error": 0.002} for name in bases} if len(bases) > 1 else {}
    scores["leave_one_out"] = lost
    scores |= {"shipped": "booster", "chosen": {"0": "booster"}, "optimistic": {"booster": 0.9}}
    write_json(oof / "metrics.json", scores, True)
    for name in curves:
        for fold in covered:
            path = root / "models" / "runs" / RUN / name / f"fold-{fold}" / "curve.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            curve(120, 3, rng).to_csv(path, index=False)
