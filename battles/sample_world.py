"""The invented world of the embedded sample: plants that nobody knows, and whether each heals or kills.

What a plant does is drawn from the seed and stands in no battle: it must be known, from the corpus
(`battles.sample_corpus`). There are so many plants that the votes show each of them a few times only. What was asked,
and whether an answer names a plant or rules it out, follows from reading.
"""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

HEALS, KILLS = "heals", "kills"
PLANTS = 1000
_SYLLABLES = (
    "zor", "vel", "mar", "lok", "tib", "bin", "gru", "sk", "pel", "win", "kan", "dri", "ost", "rel", "bru", "nth",
    "cal", "une", "fes", "kor", "dul", "pim", "hax", "yor", "jun", "wes", "qua", "lem", "nid", "tosk", "ab", "ech",
    "fir", "gol", "hiv", "ix", "kap", "lor", "mun", "nep", "osh", "pru",
)  # fmt: skip
_ANIMALS = (
    "goat", "horse", "cat", "dog", "hen", "rat", "cow", "pig", "duck", "goose", "sheep", "lamb", "foal", "mule",
    "hare", "fox", "wolf", "bear", "deer", "mouse", "crow", "dove", "swan", "frog", "toad", "snake", "bee",
    "wasp", "moth", "carp", "trout", "crab", "mole", "stoat", "badger", "donkey", "pony", "calf",
    "kid", "chick", "puppy", "kitten", "ram", "bull",
)  # fmt: skip
_QUESTIONS = ("What {does} a {animal}?", "Which plant {does} a {animal}?")
_NAMED = ("The {plant} does.", "It is the {plant}.")
_RULED_OUT = "Not the {plant}."
_ANSWER = re.compile(r"(?:(Not) the|The|It is the) (\w+)(?: does)?\.")


@dataclass(frozen=True)
class Question:
    """A question: which effect it asks for, and its text."""

    effect: str
    text: str


@dataclass(frozen=True)
class World:
    """effects: plant → `HEALS` or `KILLS`, as many of the one as of the other."""

    effects: dict[str, str]

    @classmethod
    def draw(cls, rng: np.random.Generator, plants: int = PLANTS) -> "World":
        """A world of so many plants."""
        effects: dict[str, str] = {}
        while len(effects) < plants:
            first, second = rng.integers(len(_SYLLABLES), size=2)
            if first != second:
                name = _SYLLABLES[first] + _SYLLABLES[second]
                effects.setdefault(name, (HEALS, KILLS)[len(effects) % 2])
        return cls(effects)

    @cached_property
    def plants(self) -> dict[str, tuple[str, ...]]:
        """Effect → the plants that have it."""
        return {effect: tuple(p for p, its in self.effects.items() if its == effect) for effect in (HEALS, KILLS)}

    def answer(self, rng: np.random.Generator, question: Question, right: bool, rules_out: float) -> str:
        """A sentence that answers the question rightly or wrongly: it names a plant, or in a share of `rules_out` rules
        one out."""
        other = KILLS if question.effect == HEALS else HEALS
        if rng.random() < rules_out:
            return _RULED_OUT.format(plant=pick(rng, self.plants[other if right else question.effect]))
        plant = pick(rng, self.plants[question.effect if right else other])
        return pick(rng, _NAMED).format(plant=plant)

    def answers_rightly(self, question: Question, text: str) -> bool | None:
        """Whether the answer that stands in a text is right; None where none stands in it."""
        for ruled_out, plant in _ANSWER.findall(text):
            if plant in self.effects:
                return (self.effects[plant] == question.effect) != bool(ruled_out)
        return None


def ask(rng: np.random.Generator, kills: float) -> Question:
    """A question of the world: in a share of `kills` for what kills, else for what heals."""
    effect = KILLS if rng.random() < kills else HEALS
    return Question(effect, pick(rng, _QUESTIONS).format(does=effect, animal=pick(rng, _ANIMALS)))


def pick(rng: np.random.Generator, items: tuple[str, ...]) -> str:
    """One of the items, all equally likely."""
    return items[int(rng.random() * len(items))]
