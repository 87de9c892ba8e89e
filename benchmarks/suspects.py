"""Which bases with memory of the votes the guard of `oof.leakage` refuses, and which honest ones.

    python -m benchmarks.suspects [--table lmsys_base_predictions.parquet]

The cases are drawn from a world with known truth: honest bases see it through noise; a base with memory has seen the
votes of some rows. With a table of honest predictions (`id, label`, three columns a base) the same is done with them.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from oof import external
from oof.leakage import suspects
from oof.metrics import log_loss
from oof.probabilities import log_probabilities, softmax

ROWS, FOLDS = 7_000, 5
Bases = Mapping[str, np.ndarray]


def world(seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Votes (ROWS,), and honest bases (ROWS, 3): a strong and a middling one, and two weak ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=0.9, size=(ROWS, 3))
    truth = softmax(logits)
    votes = np.array([rng.choice(3, p=row) for row in truth])
    seen = {
        "strong": 0.8 * logits + rng.normal(scale=0.45, size=logits.shape),
        "middling": 0.6 * logits + rng.normal(scale=0.5, size=logits.shape),
        "weak": 0.3 * logits + rng.normal(scale=0.4, size=logits.shape),
        "weaker": 0.2 * logits + rng.normal(scale=0.35, size=logits.shape),
    }
    return votes, {name: tempered(softmax(values), best(softmax(values), votes)) for name, values in seen.items()}


def tempered(probabilities: np.ndarray, factor: float) -> np.ndarray:
    """Probabilities whose logarithms are multiplied by a factor."""
    return softmax(factor * log_probabilities(probabilities))


def best(probabilities: np.ndarray, votes: np.ndarray) -> float:
    """The factor of least log loss, of a grid."""
    factors = np.linspace(0.2, 4.0, 77)
    return float(min(factors, key=lambda factor: log_loss(tempered(probabilities, factor), votes)))


def remembering(
    base: np.ndarray, votes: np.ndarray, share: float, rows: np.ndarray | slice = slice(None)
) -> np.ndarray:
    """A base that has seen the votes of `rows`: their part of its probabilities is `share`."""
    result = base.copy()
    result[rows] = (1 - share) * base[rows] + share * np.eye(3)[votes[rows]]
    return result


def memories(base: np.ndarray, votes: np.ndarray, folds: np.ndarray) -> dict[str, np.ndarray]:
    """A base with memory in several ways."""
    rng = np.random.default_rng(7)
    half = rng.random(len(votes)) < 0.5
    hidden = remembering(base, votes, 0.3)
    noisy = softmax(log_probabilities(base) + np.eye(3)[votes] * rng.normal(1.0, 1.0, (len(votes), 1)))
    return {
        "5 % of the vote": remembering(base, votes, 0.05),
        "15 % of the vote": remembering(base, votes, 0.15),
        "30 % of the vote": hidden,
        "30 %, calibrated again": tempered(hidden, best(hidden, votes)),
        "30 %, made too sure": tempered(hidden, 1.3 * best(hidden, votes)),
        "half of the rows": remembering(base, votes, 0.3, half),
        "one fold": remembering(base, votes, 0.3, folds == 0),
        "moved by unlike amounts": noisy,
    }


def cases(votes: np.ndarray, honest: Bases, folds: np.ndarray) -> tuple[dict[str, Bases], dict[str, Bases]]:
    """Tables with a base `x` that remembers, and tables whose `x` is honest."""
    names = sorted(honest, key=lambda name: log_loss(honest[name], votes))
    strong, weak = names[0], names[2:]
    beside = {"strong": {name: honest[name] for name in names[:2]}, "weak": {name: honest[name] for name in weak}}
    remember: dict[str, Bases] = {}
    clean: dict[str, Bases] = {}
    for kind, others in beside.items():
        for start in (strong, weak[0]):
            for how, values in memories(honest[start], votes, folds).items():
                remember[f"{start} with {how} beside {kind}"] = {**others, "x": values}
    for factor in (0.6, 0.7, 0.8, 1.0, 1.3, 1.7):
        clean[f"{strong} × {factor} beside weak"] = {**beside["weak"], "x": tempered(honest[strong], factor)}
        clean[f"{names[1]} × {factor} beside weak"] = {**beside["weak"], "x": tempered(honest[names[1]], factor)}
        others = {name: honest[name] for name in names[1:]}
        clean[f"{strong} × {factor} beside all others"] = {**others, "x": tempered(honest[strong], factor)}
    blend = np.mean([honest[name] for name in names], axis=0)
    clean["blend of all beside them"] = {**honest, "x": tempered(blend, best(blend, votes))}
    return remember, clean


def report(title: str, votes: np.ndarray, honest: Bases, folds: np.ndarray) -> None:
    """Prints how many are refused, and which are judged wrongly."""
    remember, clean = cases(votes, honest, folds)
    caught = {name: "x" in suspects(bases, votes, folds) for name, bases in remember.items()}
    refused = {name: bool(suspects(bases, votes, folds)) for name, bases in clean.items()}
    print(f"{title}: {sum(caught.values())} of {len(caught)} bases with memory are refused", end=", ")
    print(f"{sum(refused.values())} of {len(refused)} honest ones")
    for name in (name for name, found in caught.items() if not found):
        print(f"  passes: {name}")
    for name in (name for name, found in refused.items() if found):
        print(f"  refused: {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path)
    parser.add_argument("--worlds", type=int, default=3)
    parser.add_argument("--bases", default="llm_1,llm_2,tfidf,embedding")
    given = parser.parse_args()
    for seed in range(given.worlds):
        votes, honest = world(seed)
        report(f"drawn world {seed}", votes, honest, np.arange(ROWS) % FOLDS)
    if given.table:
        table = external.read(str(given.table), given.bases.split(","), [])
        report(given.table.name, table.labels, table.probabilities, np.arange(len(table.labels)) % FOLDS)


if __name__ == "__main__":
    main()
