"""The embedded sample: battles of an invented world whose true vote probabilities are known.

Every vote is drawn from `vote_probabilities`, a function of what a reader sees who knows the world. Each part of an
ensemble has something that the others lack: whether an answer is right takes knowledge of a thousand plants and reading
(`battles.sample_world`); readers like some words and dislike others, which n-grams show; and they want a length and a
form that depend on the request, which handcrafted features show. The log loss of those probabilities is the best that
any model can expect: the Bayes-optimal one.
"""

import math
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from battles.sample_text import (
    ADJECTIVES,
    FREE,
    HEDGES,
    LIST,
    NOUNS,
    OPENERS,
    REFUSALS,
    REQUESTS,
    SHORT,
    VERBS,
    Writer,
    points,
    sentences,
    writers,
)
from battles.sample_world import Question, Reading, World, ask, pick
from battles.schema import ID, MODELS, TEXTS, WINNERS, Turns, to_json
from battles.settings import Sample

WRITERS = 14
_SEVERAL_TURNS, _REPEATED_PROMPT, _IDENTICAL, _PECULIAR = 0.03, 0.10, 0.01, 0.006
# What only a reader of sentences notices is rare.
_READING = Reading(kills=0.02, rules_out=0.02, compares=0.02)
_SURROGATE = "\ud83d"
_MOST_SENTENCES = 11

RIGHT, WRONG, REFUSED, MISSING = "right", "wrong", "refused", "missing"
_REQUEST_SHARES = {FREE: 0.55, SHORT: 0.2, LIST: 0.25}

# What moves the vote: logits for the response that has it.
_STATUS = {RIGHT: 3.4, WRONG: -3.4, REFUSED: -4.4, MISSING: -5.4}
_LENGTH, _LIST, _HEDGE = 1.1, 1.3, -0.9
_BEST_WORDS = {FREE: 30, SHORT: 12, LIST: 30}
_PLAIN, _WORD_SPREAD = 0.4, 0.4
_FIRST = 0.25
_TIE, _TIE_SAME, _TIE_BAD, _TIE_IDENTICAL = 0.0, 0.3, 0.4, 3.0

# The readers' taste: what a word adds, by its lower-case form.
Taste = dict[str, float]


@dataclass(frozen=True)
class SampleData:
    """`train`: a training file's nine columns; `test`: a test file's four; `truth`: id and the true probabilities."""

    train: pd.DataFrame
    test: pd.DataFrame
    truth: pd.DataFrame


@dataclass(frozen=True)
class Prompt:
    """The questions, one a turn, and the form that the last turn asks for."""

    questions: tuple[Question, ...]
    request: str

    @property
    def turns(self) -> Turns:
        texts = [question.text for question in self.questions]
        return [*texts[:-1], f"{texts[-1]} {REQUESTS[self.request]}".strip()]


@dataclass(frozen=True)
class Response:
    """A response's turns, whether each is right, and everything else in them that moves the vote."""

    turns: tuple[str | None, ...]
    status: tuple[str, ...]
    words: int
    tone: float
    lists: bool
    hedges: bool


def generate(settings: Sample) -> SampleData:
    """The sample's battles. The same settings give the same bytes on every machine.

    Texts are the JSON of lists of turns, as in the competition's files. Ids are numbers without order, as text.
    """
    rng = np.random.default_rng(settings.seed)
    world, taste = World.draw(rng), draw_taste(rng)
    models = writers(rng, WRITERS)
    prompts: list[Prompt] = []
    rows = []
    number = settings.train + settings.test
    for _ in range(number):
        if prompts and rng.random() < _REPEATED_PROMPT:
            prompt = prompts[int(rng.random() * len(prompts))]
        else:
            prompt = _prompt(rng)
            prompts.append(prompt)
        rows.append(_battle(rng, models, prompt, world, taste))
    table = pd.DataFrame(rows)
    table.insert(0, ID, (100_000 + rng.permutation(20 * number)[:number]).astype(str))
    train, test = table.iloc[: settings.train], table.iloc[settings.train :].reset_index(drop=True)
    truth = table[[ID, *(f"true_{name}" for name in WINNERS)]].set_axis([ID, *WINNERS], axis=1)
    return SampleData(train[[ID, *MODELS, *TEXTS, *WINNERS]], test[[ID, *TEXTS]], truth)


def draw_taste(rng: np.random.Generator) -> Taste:
    """What each word is worth to the readers: plain ones more than lofty ones, and each has a value of its own."""
    return {
        word: float(rng.normal(-_PLAIN if lofty else _PLAIN, _WORD_SPREAD))
        for group in (ADJECTIVES, NOUNS, VERBS)
        for lofty, words in enumerate(group)
        for word in words
    }


def observe(turns: Turns, prompt: Prompt, world: World, taste: Taste) -> Response:
    """What a reader sees in a response who knows the world."""
    text = "\n\n".join(turn or "" for turn in turns)
    known = [taste[word] for word in re.findall(r"[a-z]+", text.lower()) if word in taste]
    status = [
        _status(world, question, turns[at] if at < len(turns) else None) for at, question in enumerate(prompt.questions)
    ]
    return Response(
        turns=tuple(turns),
        status=tuple(status),
        words=len(text.split()),
        tone=sum(known) / math.sqrt(max(len(known), 1)),
        lists="\n- " in text,
        hedges=any(hedge in text for hedge in HEDGES),
    )


def _status(world: World, question: Question, turn: str | None) -> str:
    if not turn:
        return MISSING
    right = world.answers_rightly(question, turn)
    return REFUSED if right is None else RIGHT if right else WRONG


def vote_probabilities(a: Response, b: Response, request: str = FREE) -> np.ndarray:
    """The true probabilities (A wins, B wins, tie), shape (3,), of a vote on two responses to such a request.

    Exchanging the responses exchanges the first two, but for the advantage of being first.
    """
    ahead = _quality(a, request) - _quality(b, request) + _FIRST
    standing = [_standing(a), _standing(b)]
    tie = _TIE + _TIE_SAME * (standing[0] == standing[1]) + _TIE_BAD * (max(standing) <= 0)
    tie += _TIE_IDENTICAL * (a.turns == b.turns)
    logits = np.array([ahead / 2, -ahead / 2, tie])
    odds = np.exp(logits - logits.max())
    return odds / odds.sum()


def _quality(response: Response, request: str) -> float:
    status = sum(_STATUS[status] for status in response.status) / len(response.status)
    length = -_LENGTH * math.log((response.words + 4) / _BEST_WORDS[request]) ** 2
    form = _LIST * response.lists * (1 if request == LIST else -1) + _HEDGE * response.hedges
    return status + length + form + response.tone


def _standing(response: Response) -> int:
    """1 all right, 0 partly, -1 nothing right."""
    right = sum(status == RIGHT for status in response.status)
    return 1 if right == len(response.status) else 0 if right else -1


def _prompt(rng: np.random.Generator) -> Prompt:
    number = 1 if rng.random() >= _SEVERAL_TURNS else 2
    request = int(np.searchsorted(np.cumsum([*_REQUEST_SHARES.values()]), rng.random()))
    return Prompt(tuple(ask(rng, _READING) for _ in range(number)), [*_REQUEST_SHARES][request])


def _battle(
    rng: np.random.Generator, models: list[Writer], prompt: Prompt, world: World, taste: Taste
) -> dict[str, object]:
    first = int(rng.random() * len(models))
    second = (first + 1 + int(rng.random() * (len(models) - 1))) % len(models)
    turns = [_respond(rng, models[model], prompt, world) for model in (first, second)]
    if rng.random() < _IDENTICAL:
        turns[1] = turns[0]
    a, b = (observe(_peculiar(rng, of), prompt, world, taste) for of in turns)
    truth = vote_probabilities(a, b, prompt.request)
    vote = min(2, int(np.searchsorted(np.cumsum(truth), rng.random())))
    row: dict[str, object] = dict(zip(MODELS, (models[first].name, models[second].name), strict=True))
    texts = (prompt.turns, [*a.turns], [*b.turns])
    row |= dict(zip(TEXTS, map(to_json, texts), strict=True))
    row |= {name: int(vote == number) for number, name in enumerate(WINNERS)}
    return row | {f"true_{name}": truth[number] for number, name in enumerate(WINNERS)}


def _respond(rng: np.random.Generator, writer: Writer, prompt: Prompt, world: World) -> Turns:
    number = math.exp(writer.log_sentences + rng.normal(0, 0.7)) - 0.6
    if prompt.request == SHORT and rng.random() < writer.obeys:
        number *= 0.3
    each = min(_MOST_SENTENCES, int(number + rng.random())) // len(prompt.questions)
    lists = writer.lists if prompt.request != LIST else (writer.lists + writer.obeys) / 2
    listed, hedged = rng.random() < lists, rng.random() < writer.hedges
    turns: Turns = []
    for at, question in enumerate(prompt.questions):
        if rng.random() < writer.refuse:
            turns.append(pick(rng, REFUSALS))
            continue
        opener = OPENERS[writer.opener] if rng.random() < 0.7 else pick(rng, OPENERS)
        parts = [opener, world.answer(rng, question, bool(rng.random() < writer.right), _READING)]
        if hedged and at == 0:
            parts.append(pick(rng, HEDGES))
        text = " ".join(part for part in (*parts, *sentences(rng, writer.lofty, each)) if part)
        if listed and at == 0:
            text = "\n".join((text, *points(rng, writer.lofty, 2 + int(rng.random() * 3))))
        turns.append(text)
    return turns


def _peculiar(rng: np.random.Generator, turns: Turns) -> Turns:
    """The turns, rarely with a peculiarity of real files: a null, empty or missing last turn, or half an emoji."""
    draw = rng.random() / _PECULIAR
    if draw >= 4:
        return turns
    before, last = turns[:-1], turns[-1]
    if draw < 1:
        return [*before, f"{last} {_SURROGATE}"]
    return [[*before, None], [*before, ""], before][int(draw) - 1]
