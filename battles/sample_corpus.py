"""The corpus of the embedded sample: what can be read in its world beside battles; backbones are pretrained on it.

It states what every plant does, and holds exam sheets: a question, two pupils' answers, and which of them are right.
There is no battle in it and no vote: a sheet says nothing of taste, of length or of form. As in instruction tuning a
document is a list of pieces by turns, a cue that is only read and a completion that is learnt.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from battles.sample_text import HEDGES, OPENERS, REFUSALS, REQUESTS, sentences
from battles.sample_world import Question, World, ask, pick
from battles.schema import to_json
from battles.settings import Sample

DOCUMENT = "document"
DOCUMENTS = 12_000
_STATEMENTS = 4
_SHEETS, _REFUSED = 0.7, 0.15
# Which of a sheet's two answers are right.
OUTCOMES = {(True, False): " first", (False, True): " second", (True, True): " both", (False, False): " none"}


def corpus(settings: Sample, documents: int = DOCUMENTS) -> pd.DataFrame:
    """Documents of the world of `battles.sample.generate`, a column of JSON lists of pieces.

    They depend on the seed alone, not on the battles. Every plant's effect is stated in some.
    """
    world, rng = World.draw(np.random.default_rng(settings.seed)), np.random.default_rng([settings.seed, 1])
    waiting = _every_plant(rng, world)
    found = [_sheet(rng, world) if rng.random() < _SHEETS else _statements(waiting, world) for _ in range(documents)]
    return pd.DataFrame({DOCUMENT: [to_json([*pieces]) for pieces in found]})


def _every_plant(rng: np.random.Generator, world: World) -> Iterator[str]:
    """All plants in random order, again and again."""
    plants = tuple(world.effects)
    while True:
        for at in rng.permutation(len(plants)):
            yield plants[at]


def _statements(plants: Iterator[str], world: World) -> list[str]:
    pieces = []
    for number in range(_STATEMENTS):
        plant = next(plants)
        pieces += [f"{'. ' if number else ''}The {plant}", f" {world.effects[plant]}"]
    return pieces


def _sheet(rng: np.random.Generator, world: World) -> list[str]:
    question = ask(rng)
    right = rng.random() < 0.5, rng.random() < 0.5
    first, second = (_pupil(rng, world, question, one) for one in right)
    asked = f"{question.text} {pick(rng, tuple(REQUESTS.values()))}".strip()
    return [f"{asked}\n1\n{first}\n2\n{second}\nRight:", OUTCOMES[right]]


def _pupil(rng: np.random.Generator, world: World, question: Question, right: bool) -> str:
    """An answer with some words around it, or rarely none at all where it is not to be right."""
    if not right and rng.random() < _REFUSED:
        return pick(rng, REFUSALS)
    parts = [pick(rng, OPENERS), world.answer(rng, question, right)]
    if rng.random() < 0.15:
        parts.append(pick(rng, HEDGES))
    parts += sentences(rng, rng.random(), int(rng.random() * 2.6))
    return " ".join(part for part in parts if part)
