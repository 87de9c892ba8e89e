"""The invented world of the embedded sample: plants that nobody knows, and whether each heals or kills.

What a plant does is drawn from the seed and stands in no battle: it must be known, from the corpus
(`battles.sample_corpus`). There are so many plants that the votes show each of them a few times only. What was asked,
whether an answer names a plant or rules it out, and which of two plants outdoes the other, follow from reading.
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
# How an answer speaks of the plant that it gives, and of one that it does not give. Who outdoes whom is a matter of
# roles: the same words in another order say the opposite.
_GIVES = ("The {given} does.", "It is the {given}.")
_RULES_OUT = "Not the {other}."
_COMPARES = "The {given} outdoes the {other}."
_ANSWERS = tuple(
    re.compile(form.replace(".", r"\.").format(given=r"(?P<given>\w+)", other=r"(?P<other>\w+)"))
    for form in (*_GIVES, _RULES_OUT, _COMPARES)
)


@dataclass(frozen=True)
class Reading:
    """What only a reader of sentences notices, each as a share: of questions for what kills, of answers that rule a
    plant out, and of answers that compare two."""

    kills: float
    rules_out: float
    compares: float


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

    def answer(self, rng: np.random.Generator, question: Question, right: bool, reading: Reading) -> str:
        """A sentence that answers the question rightly or wrongly: it gives a plant, rules one out, or does both."""
        given = question.effect if right else opposite(question.effect)
        plants = {"given": pick(rng, self.plants[given]), "other": pick(rng, self.plants[opposite(given)])}
        draw, form = rng.random(), pick(rng, _GIVES)
        if draw < reading.rules_out + reading.compares:
            form = _RULES_OUT if draw < reading.rules_out else _COMPARES
        return form.format(**plants)

    def answers_rightly(self, question: Question, text: str) -> bool | None:
        """Whether the answer that stands in a text is right; None where none stands in it."""
        for form in _ANSWERS:
            for answer in form.finditer(text):
                if all(plant in self.effects for plant in answer.groups()):
                    return all(
                        (self.effects[plant] == question.effect) == (role == "given")
                        for role, plant in answer.groupdict().items()
                    )
        return None


def opposite(effect: str) -> str:
    """The other effect."""
    return KILLS if effect == HEALS else HEALS


def ask(rng: np.random.Generator, reading: Reading) -> Question:
    """A question of the world: rarely for what kills, else for what heals."""
    effect = KILLS if rng.random() < reading.kills else HEALS
    return Question(effect, pick(rng, _QUESTIONS).format(does=effect, animal=pick(rng, _ANIMALS)))


def pick(rng: np.random.Generator, items: tuple[str, ...]) -> str:
    """One of the items, all equally likely."""
    return items[int(rng.random() * len(items))]
