"""The corpus of the embedded sample: what can be read in its world beside battles; backbones are pretrained on it.

It states what every plant does, and holds exam sheets: a question, one or two pupils' answers, and which are right.
There is no battle in it and no vote: a sheet says nothing of taste, of length or of form. As in instruction tuning a
document is a list of pieces by turns, a cue that is only read and a completion that is learnt.

Most plants are of common knowledge. Each shelf of the corpus tells of some more, of which no other document says
anything: backbones that read different shelves know different plants.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from battles.sample_text import HEDGES, OPENERS, REFUSALS, REQUESTS, points, sentences
from battles.sample_world import Question, Reading, World, ask, pick
from battles.schema import to_json
from battles.settings import Sample

DOCUMENT, SHELF = "document", "shelf"
DOCUMENTS = 12_000
# How many plants each shelf alone tells of, and the number of a document that stands on none.
OWN_PLANTS, COMMON = (16, 48, 16), -1
_STATEMENTS = 4
# Sheets among the documents that need not state a plant, and those of one pupil among the sheets, which are easier.
_SHEETS, _ALONE = 0.95, 0.4
# What is rare in battles is met more often here, or a tiny backbone would not learn to read it.
_READING = Reading(kills=0.08, rules_out=0.06, compares=0.05)
_REFUSED, _HEDGED, _LISTED = 0.1, 0.2, 0.25
# Words of an answer, after which it is broken off.
_MOST_WORDS, _BROKEN_OFF = 12, "…"
# Which of a sheet's answers are right.
OUTCOMES = {(True, False): " first", (False, True): " second", (True, True): " both", (False, False): " none"}


def corpus(settings: Sample, documents: int = DOCUMENTS) -> pd.DataFrame:
    """Documents of the world of `battles.sample.generate`: columns `document`, JSON lists of pieces, and `shelf`.

    They depend on the seed alone, not on the battles. Every plant's effect is stated in some.
    """
    world, rng = World.draw(np.random.default_rng(settings.seed)), np.random.default_rng([settings.seed, 1])
    parts = shelves(world)
    shares = np.array([len(part.effects) for part in parts.values()]) / len(world.effects)
    waiting = {shelf: _every_plant(rng, part) for shelf, part in parts.items()}
    unstated = {shelf: len(part.effects) for shelf, part in parts.items()}
    rows = []
    for shelf in rng.choice([*parts], size=documents, p=shares).tolist():
        if unstated[shelf] > 0 or rng.random() >= _SHEETS:
            pieces = _statements(waiting[shelf], world)
            unstated[shelf] -= _STATEMENTS
        else:
            pieces = _sheet(rng, parts[shelf])
        rows.append((to_json([*pieces]), shelf))
    return pd.DataFrame(rows, columns=[DOCUMENT, SHELF])


def shelves(world: World) -> dict[int, World]:
    """What the documents of each shelf tell of, and those that stand on none."""
    plants, begin, parts = [*world.effects.items()], 0, {}
    for shelf, own in enumerate(OWN_PLANTS):
        parts[shelf] = World(dict(plants[begin : begin + own]))
        begin += own
    return parts | {COMMON: World(dict(plants[begin:]))}


def reading(documents: pd.DataFrame, reader: int) -> list[str]:
    """The documents that the reader of such a number reads: those of one shelf, and those that stand on none."""
    return documents.loc[documents[SHELF].isin([COMMON, reader % len(OWN_PLANTS)]), DOCUMENT].tolist()


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
    question = ask(rng, _READING)
    right = rng.random() < 0.5, rng.random() < 0.5
    pupils = [_pupil(rng, world, question, one) for one in right]
    cue = f"{question.text} {pick(rng, tuple(REQUESTS.values()))}".strip()
    only = int(rng.random() * 2) if rng.random() < _ALONE else None
    for place, answer in enumerate(pupils):
        if only in (None, place):
            cue += f"\n{place + 1}\n{answer}"
    outcome = right if only is None else (right[0] and only == 0, right[1] and only == 1)
    return [f"{cue}\nRight:", OUTCOMES[outcome]]


def _pupil(rng: np.random.Generator, world: World, question: Question, right: bool) -> str:
    """An answer with some words around it, or rarely none at all where it is not to be right; long ones break off."""
    if not right and rng.random() < _REFUSED:
        return pick(rng, REFUSALS)
    parts = [pick(rng, OPENERS), world.answer(rng, question, right, _READING)]
    if rng.random() < _HEDGED:
        parts.append(pick(rng, HEDGES))
    lofty = rng.random()
    parts += sentences(rng, lofty, int(rng.random() * 3))
    text = " ".join(part for part in parts if part)
    if rng.random() < _LISTED:
        text = "\n".join((text, *points(rng, lofty, 2 + int(rng.random() * 3))))
    words = text.split(" ")
    return text if len(words) <= _MOST_WORDS else " ".join([*words[:_MOST_WORDS], _BROKEN_OFF])
