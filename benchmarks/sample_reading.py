"""Whether models of the embedded sample read: how often they favour the better answer where reading decides.

    python -m benchmarks.sample_reading [--run sample]

Of a finished run's voted battles those count whose better response is clear from the true vote probabilities: one wins
with 70 % or more. A model, of which the out-of-fold predictions count, is right when it gives that one the higher
probability. Battles are listed by what a reader has to notice in them; the share of the gap that is closed is over all
battles of the kind.
"""

import argparse

import numpy as np
import pandas as pd

from battles.files import read_json, read_table
from battles.paths import RunPaths
from battles.sample_world import KILLS
from battles.schema import ID, WINNERS
from oof.table import STACK, read
from report.gap import expected_log_loss, share_closed

CLEAR = 0.7
KINDS = {
    "answers that rule a plant out": ("responses", r"\bNot the \w+\."),
    "answers that compare two plants": ("responses", r"\bThe \w+ outdoes the \w+\."),
    "questions for what kills": ("prompt", rf"\b{KILLS}\b"),
}


def kinds(battles: pd.DataFrame) -> dict[str, np.ndarray]:
    """Kind of reading → which battles need it and no other; and those that need none. Boolean, one for each battle."""
    texts = pd.DataFrame({"prompt": battles["prompt"], "responses": battles["response_a"] + battles["response_b"]})
    needs = {kind: texts[column].str.contains(form).to_numpy() for kind, (column, form) in KINDS.items()}
    number = np.sum([*needs.values()], axis=0)
    return {kind: need & (number == 1) for kind, need in needs.items()} | {"neither": number == 0}


def accuracy(probabilities: np.ndarray, truth: np.ndarray) -> tuple[int, float]:
    """How many battles have a clear better response, and the share of them in which it is favoured; both (n, 3)."""
    clear = truth[:, :2].max(axis=1) >= CLEAR
    favoured = probabilities[clear, 0] > probabilities[clear, 1]
    return int(clear.sum()), float(np.mean(favoured == (truth[clear, 0] > truth[clear, 1])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--run", default="sample", help="a finished run of the embedded sample")
    paths = RunPaths(parser.parse_args().run)
    battles, folds = read_table(paths.train_battles), read_table(paths.folds)
    truth = read_table(paths.truth).set_index(ID).loc[battles[ID], list(WINNERS)].to_numpy()
    models = [*read_json(paths.metrics, sealed=True)["bases"], STACK]
    predicted = {name: read(paths.predictions(name), folds).probabilities for name in models}
    print("share of clear battles in which the better response is favoured / share of the gap closed")
    print(f"{'battles with':34}{'all':>6}{'clear':>7}", *(f"{name:>13}" for name in models))
    for kind, needs in kinds(battles).items():
        prior = np.broadcast_to(truth.mean(axis=0), truth.shape)[needs]
        worst, best = (expected_log_loss(known, truth[needs]) for known in (prior, truth[needs]))
        figures = []
        for probabilities in predicted.values():
            clear, right = accuracy(probabilities[needs], truth[needs])
            closed = share_closed(expected_log_loss(probabilities[needs], truth[needs]), worst, best)
            figures.append(f"{f'{right:.0%} / {closed:.0%}':>13}")
        print(f"{kind:34}{needs.sum():6}{clear:7}", *figures)


if __name__ == "__main__":
    main()
