"""How the sample's invented models write: style habits, and a response with what a reader can see in it."""

import math
from dataclasses import dataclass

import numpy as np

from battles.sample_world import Fact

_PLACES = ("river", "market", "harbour", "old mill", "north gate", "garden", "library", "bridge", "valley",
           "hill", "school", "forest", "coast", "tower", "square", "station", "museum",
           "village", "lake", "workshop")  # fmt: skip
_PEOPLE = ("farmers", "sailors", "teachers", "children", "merchants", "visitors", "painters", "bakers", "students",
           "miners", "weavers", "travellers", "hunters", "doctors", "gardeners")  # fmt: skip
_TRAITS = ("quiet", "famous", "simple", "busy", "ancient", "pleasant", "strange", "bright", "careful", "common",
           "gentle", "little", "curious", "splendid", "ordinary", "useful")  # fmt: skip
_THINGS = ("songs", "maps", "stories", "letters", "festivals", "tools", "stamps", "paintings", "recipes", "games",
           "boats", "baskets", "coins", "poems", "carpets", "lamps")  # fmt: skip
_TIMES = ("spring", "winter", "the morning", "the evening", "summer", "autumn", "the rain", "the old days")

_ELABORATIONS = (
    "Many {people} near the {place} know this from {trait} {things}.",
    "It appears on {trait} {things} that {people} sell in {time}.",
    "In {time} the {people} of the {place} still talk about it.",
    "There are {trait} {things} about it in the {place}.",
    "The {people} who live by the {place} teach it to their {kind} friends.",
    "A {trait} book in the {place} describes it for {people}.",
    "Older {things} from the {place} mention it, and {people} agree.",
    "You can see it on the {things} that {people} bring to the {place} in {time}.",
)
_EXTRA = {
    "capital": ("Its streets lead down to the {place}.", "The {people} there are proud of their {trait} {place}."),
    "colour": ("Polished pieces are used for {trait} {things}.", "{people} dig it out near the {place}."),
    "sound": ("The animal sleeps near the {place} in {time}.", "It likes {trait} places and fears {people}."),
    "unit": ("The {people} use this measure for {things}.", "It was fixed by {people} at the {place}."),
    "opposite": ("The {people} use both words for {trait} {things}.", "You will read both words in {trait} {things}."),
    "maker": ("It was shown at the {place} in {time}.", "The {people} paid for it with {trait} {things}."),
}
_POINTS = ("{trait} {things} in the {place}", "what {people} say in {time}", "{things} of the {people}",
           "the {trait} {place}", "{things} made in {time}", "{people} at the {place}")  # fmt: skip
_LIST_HEADS = ("Details:", "Known from:", "Some points:", "To sum up:")

OPENERS = ("", "Sure!", "Great question!", "Of course.", "Certainly!", "Here is the answer.", "Let me explain.",
           "Thanks for asking.", "Good day to you.", "Happy to help.", "Absolutely!", "Right.")  # fmt: skip
CLOSERS = ("", "I hope this helps!", "Let me know if you need more.", "Feel free to ask again.", "Have a nice day!",
           "Best wishes 😊", "That is all.", "Good luck!")  # fmt: skip
HEDGES = (
    "I think so, but I may be wrong.",
    "Perhaps somebody should check this.",
    "This is possibly not right.",
    "It is probably so, but it might not be.",
)
FILLERS = (
    "This is basically a really good question.",
    "It is actually quite a thing.",
    "Well, it is essentially just that.",
    "Simply put, it really is very nice.",
)
_REFUSALS = (
    "I'm sorry, but I cannot help with that question.",
    "As an AI language model, I am unable to answer this.",
    "I apologize, but I can't provide that information.",
    "Unfortunately, I am not able to answer that.",
    "I'm sorry, I cannot answer this.",
)

RIGHT, WRONG, REFUSED, MISSING = "right", "wrong", "refused", "missing"


@dataclass(frozen=True)
class Writer:
    """One invented model: how often it is right or refuses, and its habits (probabilities, mean sentences)."""

    name: str
    right: float
    refuse: float
    sentences: float
    lists: float
    hedges: float
    fillers: float
    openers: tuple[int, int]
    closers: tuple[int, int]
    forms: tuple[float, float, float]


@dataclass(frozen=True)
class Response:
    """A response's turns, whether each is right, and everything else in them that moves the vote."""

    turns: tuple[str | None, ...]
    status: tuple[str, ...]
    words: int
    lists: bool
    hedges: bool
    fillers: bool


def observed(turns: tuple[str | None, ...], status: tuple[str, ...]) -> Response:
    """The response with its qualities read from its text, so that a vote depends only on what a reader can see."""
    text = "\n\n".join(turn or "" for turn in turns)
    return Response(
        turns=turns,
        status=status,
        words=len(text.split()),
        lists="\n- " in text,
        hedges=any(hedge in text for hedge in HEDGES),
        fillers=any(filler in text for filler in FILLERS),
    )


def pick(rng: np.random.Generator, items: tuple[str, ...]) -> str:
    """One of the items, all equally likely."""
    return items[int(rng.random() * len(items))]


def writers(rng: np.random.Generator, number: int) -> list[Writer]:
    """Models of evenly spread strength, in random order; habits depend loosely on strength, so style predicts it."""
    models = []
    for rank in range(number):
        strength = 1 - 2 * rank / (number - 1)

        def habit(mean: float, slope: float, strength: float = strength) -> float:
            logit = mean + slope * strength + rng.normal(0, 1.2)
            return 1 / (1 + math.exp(-logit))

        forms = rng.dirichlet((1.2, 0.8, 0.6))
        models.append(
            Writer(
                name=f"arbor-{rank + 1:02d}",
                right=1 / (1 + math.exp(-0.7 - 1.3 * strength)),
                refuse=min(0.4, 0.1 * math.exp(-0.7 * strength + rng.normal(0, 0.5))),
                sentences=max(0.2, 1.1 + 0.5 * strength + rng.normal(0, 0.6)),
                lists=habit(-0.7, 0.5),
                hedges=habit(-0.8, -0.5),
                fillers=habit(-0.8, -0.5),
                openers=(int(rng.integers(len(OPENERS))), int(rng.integers(len(OPENERS)))),
                closers=(int(rng.integers(len(CLOSERS))), int(rng.integers(len(CLOSERS)))),
                forms=(float(forms[0]), float(forms[1]), float(forms[2])),
            )
        )
    return [models[i] for i in rng.permutation(number)]


def _filled(rng: np.random.Generator, template: str) -> str:
    text = template.format(
        place=pick(rng, _PLACES), people=pick(rng, _PEOPLE), trait=pick(rng, _TRAITS), things=pick(rng, _THINGS),
        kind=pick(rng, _TRAITS), time=pick(rng, _TIMES),
    )  # fmt: skip
    return text[0].upper() + text[1:]


def respond(rng: np.random.Generator, writer: Writer, asked: list[Fact]) -> Response:
    """The writer's response to a prompt of one fact per turn."""
    hedges, fillers = rng.random() < writer.hedges, rng.random() < writer.fillers
    lists = rng.random() < writer.lists
    turns, status = [], []
    listed = hedged = False
    for number, fact in enumerate(asked):
        if rng.random() < writer.refuse:
            status.append(REFUSED)
            turns.append(pick(rng, _REFUSALS))
            continue
        right = rng.random() < writer.right
        status.append(RIGHT if right else WRONG)
        answer = fact.answer if right else fact.wrong[rng.random() < 0.15]
        form = int(np.searchsorted(np.cumsum(writer.forms), rng.random()))
        sentences = [fact.statement(form, answer)]
        for _ in range(min(5, int(rng.poisson(writer.sentences)))):
            pool = _EXTRA[fact.kind] if rng.random() < 0.3 else _ELABORATIONS
            sentences.append(_filled(rng, pick(rng, pool)))
        if fillers and number == 0:
            sentences.insert(0, pick(rng, FILLERS))
        if hedges and not hedged:
            hedged = True
            sentences.append(pick(rng, HEDGES))
        opener, closer = OPENERS[writer.openers[rng.random() < 0.3]], CLOSERS[writer.closers[rng.random() < 0.3]]
        text = " ".join(part for part in (opener, *sentences) if part)
        if lists and not listed:
            listed = True
            points = [f"- {_filled(rng, pick(rng, _POINTS))}" for _ in range(2 + int(rng.random() * 2))]
            text = "\n".join((text, "", pick(rng, _LIST_HEADS), *points)) + ("\n" if closer else "")
        turns.append(f"{text} {closer}".rstrip() if not listed else f"{text}{closer}")
    return observed(tuple(turns), tuple(status))
