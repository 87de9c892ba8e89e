"""Whether models of the embedded sample read: how often they favour the better answer where reading alone decides.

    python -m benchmarks.sample_reading [--run sample]

Of a finished run's voted battles those count whose better response is clear from the true vote probabilities, as one
wins with 60 % or more, and would be the other one if what is to be read were turned round: who outdoes whom, whether a
plant is ruled out, or what was asked. A model that does not read is right about as often as not. What counts is its
out-of-fold predictions, and it is right when it gives the better response the higher probability.
"""

import argparse
import json
import re
from collections.abc import Callable

import numpy as np
import pandas as pd

from battles.files import read_json, read_table
from battles.paths import RunPaths
from battles.sample import FREE, LIST, SHORT, Prompt, draw_taste, observe, vote_probabilities
from battles.sample_world import HEALS, KILLS, Question, World
from battles.schema import TEXTS
from oof.table import STACK, read

CLEAR = 0.6
Reader = Callable[[tuple[str, str, str]], np.ndarray]


def _in_answers(form: str, instead: str) -> Callable[[tuple[str, str, str]], tuple[str, str, str]]:
    return lambda texts: (texts[0], re.sub(form, instead, texts[1]), re.sub(form, instead, texts[2]))


def _other_question(texts: tuple[str, str, str]) -> tuple[str, str, str]:
    return texts[0].replace(f" {KILLS} ", f" {HEALS} "), texts[1], texts[2]


# What a reader notices → the texts (prompt, A, B; JSON of turns) with that turned round.
TURNED = {
    "who outdoes whom": _in_answers(r"\bThe (\w+) outdoes the (\w+)\.", r"The \2 outdoes the \1."),
    "a plant is ruled out": _in_answers(r"\bNot the (\w+)\.", r"It is the \1."),
    "asked is what kills": _other_question,
}


def reader(seed: int) -> Reader:
    """The true vote probabilities of three texts, shape (3,), by one who knows the world and the taste of the seed."""
    rng = np.random.default_rng(seed)
    world, taste = World.draw(rng), draw_taste(rng)

    def probabilities(texts: tuple[str, str, str]) -> np.ndarray:
        prompt = read_prompt(json.loads(texts[0]))
        a, b = (observe(json.loads(text), prompt, world, taste) for text in texts[1:])
        return vote_probabilities(a, b, prompt.request)

    return probabilities


def read_prompt(texts: list[str]) -> Prompt:
    """What the turns of a prompt ask for."""
    request = SHORT if "brief" in texts[-1] else LIST if "list" in texts[-1] else FREE
    questions = (Question(KILLS if f" {KILLS} " in text else HEALS, text[: text.index("?") + 1]) for text in texts)
    return Prompt(tuple(questions), request)


def deciding(battles: pd.DataFrame, truth_of: Reader) -> dict[str, np.ndarray]:
    """What a reader notices → the better response of each battle, 0 or 1; -1 where that does not decide."""
    decided = {}
    for what, turn in TURNED.items():
        better = np.full(len(battles), -1)
        for row, texts in enumerate(battles[list(TEXTS)].itertuples(index=False, name=None)):
            if (turned := turn(texts)) != texts:
                now, then = truth_of(texts)[:2], truth_of(turned)[:2]
                if now.max() >= CLEAR and now.argmax() != then.argmax():
                    better[row] = now.argmax()
        decided[what] = better
    return decided


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--run", default="sample", help="a finished run of the embedded sample")
    paths = RunPaths(parser.parse_args().run)
    battles, folds = read_table(paths.train_battles), read_table(paths.folds)
    models = [*read_json(paths.metrics, sealed=True)["bases"], STACK]
    favoured = {name: read(paths.predictions(name), folds).probabilities[:, :2].argmax(axis=1) for name in models}
    seed = read_json(paths.stamp("sample"), sealed=True)["settings"]["seed"]
    print(f"{'what decides':22}{'battles':>8}", *(f"{name:>8}" for name in models))
    for what, better in deciding(battles, reader(seed)).items():
        rows = better >= 0
        shares = (f"{np.mean(one[rows] == better[rows]):8.0%}" for one in favoured.values())
        print(f"{what:22}{rows.sum():8}", *shares)


if __name__ == "__main__":
    main()
