"""The embedded sample: battles of an invented world whose true vote probabilities are known.

Every vote is drawn from `vote_probabilities`, a function of what a reader sees: whether each answer is right (only
reading tells), refusals, length, lists, hedges, filler, and which response comes first. The log loss of
those probabilities is therefore the best that any model can expect: the Bayes-optimal one.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from battles.sample_text import MISSING, REFUSED, RIGHT, WRONG, Response, Writer, observed, pick, respond, writers
from battles.sample_world import Fact, facts, popularity
from battles.schema import ID, MODELS, TEXTS, WINNERS, to_json
from battles.settings import Sample

WRITERS = 14
_SEVERAL_TURNS, _REPEATED_PROMPT, _IDENTICAL, _PECULIAR = 0.13, 0.10, 0.01, 0.006
_SURROGATE = "\ud83d"

# What moves the vote: logits for the response that has it.
_STATUS = {RIGHT: 0.9, WRONG: -0.9, REFUSED: -3.0, MISSING: -4.0}
_LENGTH, _LIST, _HEDGE, _FILLER = 1.9, 2.0, -2.0, -1.3
_FIRST = 0.35
_TIE, _TIE_SAME, _TIE_BAD, _TIE_IDENTICAL = 0.0, 0.4, 0.8, 3.0

_REQUESTS = ("Thank you!", "A friend asked me this today.", "I need it for my homework.",
             "I forgot it again.", "It is for a quiz.", "Thanks in advance.",
             "My sister does not believe me.", "I am only curious.")  # fmt: skip
_CONTEXTS = ("I am {doing} with my {whom}.", "My {whom} and I are {doing}.", "Yesterday I was {doing} with a {whom}.",
             "Hello! I like {doing}, and my {whom} does too.", "While {doing}, my {whom} asked me this.")  # fmt: skip
_DOING = ("reading an old book", "playing a word game", "planning a long trip", "writing a letter", "cooking dinner",
          "painting the kitchen", "learning for a test", "walking by the lake", "cleaning the workshop",
          "sorting stamps", "waiting for the bus", "drawing a map", "solving a puzzle", "feeding the birds",
          "repairing a boat", "watching the rain", "baking bread", "telling stories", "counting coins")  # fmt: skip
_WHOM = ("brother", "sister", "neighbour", "teacher", "cousin", "grandmother", "uncle", "friend", "daughter",
         "colleague", "aunt", "son", "landlord", "classmate")  # fmt: skip
_FOLLOW_UPS = ("And another thing: {q}", "Good. {q}", "I see. {q}", "Next question: {q}", "Thanks! {q}")


@dataclass(frozen=True)
class SampleData:
    """`train`: a training file's nine columns; `test`: a test file's four; `truth`: id and the true probabilities."""

    train: pd.DataFrame
    test: pd.DataFrame
    truth: pd.DataFrame


@dataclass(frozen=True)
class _Prompt:
    turns: tuple[str, ...]
    asked: tuple[Fact, ...]


def generate(settings: Sample) -> SampleData:
    """The sample's battles. The same settings give the same bytes on every machine.

    Texts are the JSON of lists of turns, as in the competition's files. Ids are numbers without order, as text.
    """
    rng = np.random.default_rng(settings.seed)
    known = facts()
    share = np.cumsum(popularity(len(known)))
    models = writers(rng, WRITERS)
    prompts: list[_Prompt] = []
    rows = []
    number = settings.train + settings.test
    for _ in range(number):
        if prompts and rng.random() < _REPEATED_PROMPT:
            prompt = prompts[int(rng.random() * len(prompts))]
        else:
            prompt = _prompt(rng, known, share)
            prompts.append(prompt)
        rows.append(_battle(rng, models, prompt))
    table = pd.DataFrame(rows)
    table.insert(0, ID, (100_000 + rng.permutation(20 * number)[:number]).astype(str))
    train, test = table.iloc[: settings.train], table.iloc[settings.train :].reset_index(drop=True)
    truth = table[[ID, *(f"true_{name}" for name in WINNERS)]].set_axis([ID, *WINNERS], axis=1)
    return SampleData(train[[ID, *MODELS, *TEXTS, *WINNERS]], test[[ID, *TEXTS]], truth)


def vote_probabilities(a: Response, b: Response) -> np.ndarray:
    """The true probabilities (A wins, B wins, tie), shape (3,), of a vote on two responses.

    Exchanging the responses exchanges the first two, but for the advantage of being first.
    """
    ahead = _quality(a) - _quality(b) + _FIRST
    standing = [_standing(a), _standing(b)]
    tie = _TIE + _TIE_SAME * (standing[0] == standing[1]) + _TIE_BAD * (max(standing) <= 0)
    tie += _TIE_IDENTICAL * (a.turns == b.turns)
    logits = np.array([ahead / 2, -ahead / 2, tie])
    odds = np.exp(logits - logits.max())
    return odds / odds.sum()


def _quality(response: Response) -> float:
    status = sum(_STATUS[status] for status in response.status) / len(response.status)
    length = _LENGTH * math.log((response.words + 6) / 25)
    habits = _LIST * response.lists + _HEDGE * response.hedges + _FILLER * response.fillers
    return status + length + habits


def _standing(response: Response) -> int:
    """1 all right, 0 partly, -1 nothing right."""
    right = sum(status == RIGHT for status in response.status)
    return 1 if right == len(response.status) else 0 if right else -1


def _prompt(rng: np.random.Generator, known: list[Fact], share: np.ndarray) -> _Prompt:
    number = 1 if rng.random() >= _SEVERAL_TURNS else 2 + int(rng.random() * 2)
    asked: list[Fact] = []
    while len(asked) < number:
        fact = known[int(np.searchsorted(share, rng.random()))]
        if fact not in asked:
            asked.append(fact)
    turns = []
    for position, fact in enumerate(asked):
        question = fact.question(int(rng.random() * 4))
        if position:
            turns.append(pick(rng, _FOLLOW_UPS).format(q=question))
            continue
        context = pick(rng, _CONTEXTS).format(doing=pick(rng, _DOING), whom=pick(rng, _WHOM))
        request = pick(rng, _REQUESTS) if rng.random() < 0.4 else ""
        turns.append(" ".join(part for part in (context if rng.random() < 0.8 else "", question, request) if part))
    return _Prompt(tuple(turns), tuple(asked))


def _battle(rng: np.random.Generator, models: list[Writer], prompt: _Prompt) -> dict[str, object]:
    first = int(rng.random() * len(models))
    second = (first + 1 + int(rng.random() * (len(models) - 1))) % len(models)
    asked = list(prompt.asked)
    a, b = respond(rng, models[first], asked), respond(rng, models[second], asked)
    if rng.random() < _IDENTICAL:
        b = a
    a, b = _peculiar(rng, a), _peculiar(rng, b)
    truth = vote_probabilities(a, b)
    vote = min(2, int(np.searchsorted(np.cumsum(truth), rng.random())))
    row: dict[str, object] = dict(zip(MODELS, (models[first].name, models[second].name), strict=True))
    row |= dict(zip(TEXTS, (to_json(list(turns)) for turns in (prompt.turns, a.turns, b.turns)), strict=True))
    row |= {name: int(vote == number) for number, name in enumerate(WINNERS)}
    return row | {f"true_{name}": truth[number] for number, name in enumerate(WINNERS)}


def _peculiar(rng: np.random.Generator, response: Response) -> Response:
    """The response, rarely with a peculiarity of real files: a null, empty or missing last turn, or half an emoji."""
    draw = rng.random() / _PECULIAR
    if draw >= 4:
        return response
    before, last = response.turns[:-1], response.turns[-1]
    if draw < 1:
        return observed((*before, f"{last} {_SURROGATE}"), response.status)
    turns = {1: (*before, None), 2: (*before, ""), 3: before}[int(draw)]
    return observed(turns, (*response.status[:-1], MISSING))
