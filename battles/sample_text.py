"""How the sample's invented models write: plain or lofty words, length, lists, hedges, refusals."""

import math
from dataclasses import dataclass

import numpy as np

from battles.sample_world import pick

# Plain words and lofty ones, by their place in a sentence.
ADJECTIVES = (
    ("small", "old", "quiet", "warm", "simple", "quick", "bright", "soft", "clean", "early", "plain", "round",
     "young", "heavy", "fresh", "narrow"),
    ("exquisite", "sublime", "profound", "paramount", "multifaceted", "ubiquitous", "quintessential", "intricate",
     "seminal", "holistic", "resplendent", "ineffable", "pivotal", "nuanced", "robust", "vibrant"),
)  # fmt: skip
NOUNS = (
    ("farmers", "children", "bakers", "sailors", "stones", "roads", "boats", "houses", "tools", "stories", "songs",
     "winters", "markets", "gardens", "teachers", "letters"),
    ("tapestries", "paradigms", "realms", "synergies", "landscapes", "journeys", "endeavours", "testaments", "facets",
     "frameworks", "beacons", "legacies", "insights", "mosaics", "symphonies", "crucibles"),
)  # fmt: skip
VERBS = (
    ("keep", "see", "use", "make", "find", "need", "help", "know", "sell", "mend"),
    ("delve", "elevate", "unveil", "foster", "navigate", "harness", "embark", "transcend", "illuminate", "evoke"),
)  # fmt: skip
_SENTENCES = (
    "The {a} {n} {v} {m}.", "Many {n} {v} {b} {m}.", "In {a} {n} we {v} {m}.", "All {a} {n} {v} the {b} {m}.",
    "{b} {n} of {m} {v} them.", "They {v} {a} {n} and {m}.",
)  # fmt: skip
_POINT = "- {a} {n}"
# What a prompt may ask for beside the answer.
SHORT, LIST, FREE = "short", "list", "free"
REQUESTS = {FREE: "", SHORT: "Be brief.", LIST: "Give a list."}
OPENERS = ("", "", "Sure!", "Of course.", "Here it is.", "Good question!", "Certainly!")
HEDGES = ("Perhaps it is so.", "This may be wrong.", "It is probably so.", "I might be mistaken.")
REFUSALS = ("I'm sorry, but I cannot help with that.", "As an AI language model, I am unable to answer.",
            "Unfortunately, I can't say that.")  # fmt: skip


@dataclass(frozen=True)
class Writer:
    """One invented model: how often it is right or refuses, and its habits (probabilities, mean log of sentences)."""

    name: str
    right: float
    refuse: float
    log_sentences: float
    lofty: float
    lists: float
    hedges: float
    obeys: float
    opener: int


def writers(rng: np.random.Generator, number: int) -> list[Writer]:
    """Models of evenly spread strength, in random order; habits depend loosely on strength, so style predicts it."""
    models = []
    for rank in range(number):
        strength = 1 - 2 * rank / (number - 1)

        def habit(mean: float, slope: float, strength: float = strength) -> float:
            return 1 / (1 + math.exp(-(mean + slope * strength + rng.normal(0, 1))))

        models.append(
            Writer(
                name=f"arbor-{rank + 1:02d}",
                right=1 / (1 + math.exp(-0.1 - 0.7 * strength)),
                refuse=0.04 * math.exp(-0.7 * strength),
                log_sentences=0.9 + rng.normal(0, 0.35),
                lofty=habit(0, -0.3),
                lists=habit(-1.5, 0.2),
                hedges=habit(-1.5, -0.3),
                obeys=habit(0.3, 0.5),
                opener=int(rng.integers(len(OPENERS))),
            )
        )
    return [models[i] for i in rng.permutation(number)]


def sentences(rng: np.random.Generator, lofty: float, number: int) -> list[str]:
    """Sentences that answer nothing; each of their words is a lofty one with the given probability."""
    return [_filled(rng, pick(rng, _SENTENCES), lofty) for _ in range(number)]


def points(rng: np.random.Generator, lofty: float, number: int) -> list[str]:
    """Lines of a list."""
    return [_filled(rng, _POINT, lofty) for _ in range(number)]


def _filled(rng: np.random.Generator, template: str, lofty: float) -> str:
    def word(group: tuple[tuple[str, ...], tuple[str, ...]]) -> str:
        return pick(rng, group[int(rng.random() < lofty)])

    text = template.format(a=word(ADJECTIVES), b=word(ADJECTIVES), n=word(NOUNS), m=word(NOUNS), v=word(VERBS))
    return text[0].upper() + text[1:]
