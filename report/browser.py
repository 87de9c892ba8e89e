"""Battles to look at one by one: which are chosen, and what the page shows of each."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from battles.schema import CLASSES, ID, MODELS, TEXTS, labels
from report.exploration import UNKNOWN
from report.figures_as_text import number, percent
from report.inputs import Explanation, Inputs
from report.page import Browser, Table
from report.scripts import scripts
from report.style import CLASS_NAMES

WORST, CHARACTERISTIC, DISPUTED, RANDOM = "worst", "most characteristic", "most disagreed on", "random"
OF_EACH = 40
_SEED = 0
# Characters of one text, and of all texts of the page together: the rest of a longer one is counted, not shown.
LONGEST_TEXT = 20_000
MOST_CHARACTERS = 6_000_000
# Inputs that are listed for a battle, and models whose probabilities are.
MOVED = 5
MOST_MODELS = 12
_COUNTED = "characters left out here"


def choose(inputs: Inputs, each: int = OF_EACH) -> dict[str, np.ndarray]:
    """Kind → places of battles in the run, at most `each`, in the order in which they are worth looking at.

    worst: whose vote the stack found least probable. most characteristic: of each vote those that it found most
    probable. most disagreed on: whose bases' favourites differ most (spread of their probabilities; of a single base,
    the two response orders). random: drawn from all.
    """
    rows = np.flatnonzero(inputs.covered)
    votes = labels(inputs.battles)[rows]
    stack = inputs.stack.probabilities[rows]
    of_vote = stack[np.arange(len(rows)), votes]
    best = [
        part[np.argsort(-of_vote[part], kind="stable")][: -(-each // CLASSES)]
        for part in (np.flatnonzero(votes == number) for number in range(CLASSES))
    ]
    chosen = {
        WORST: np.argsort(of_vote, kind="stable")[:each],
        CHARACTERISTIC: np.concatenate(best),
        RANDOM: np.random.default_rng(_SEED).permutation(len(rows))[:each],
    }
    spread = _spread(inputs, rows)
    if spread is not None:
        chosen[DISPUTED] = np.argsort(-spread, kind="stable")[:each]
    return {kind: rows[chosen[kind]] for kind in (WORST, CHARACTERISTIC, DISPUTED, RANDOM) if kind in chosen}


def _spread(inputs: Inputs, rows: np.ndarray) -> np.ndarray | None:
    """How far predictions of the same battle are apart, (n,); None where there is one prediction of each only."""
    values = [base.probabilities[rows] for base in inputs.bases.values()]
    if len(values) < 2:
        base = next(iter(inputs.bases.values()))
        if base.plain is None or base.swapped is None:
            return None
        values = [base.plain[rows], np.where(np.isnan(base.swapped), base.plain, base.swapped)[rows]]
    return np.asarray(np.stack(values).std(axis=0).sum(axis=1))


def browser(inputs: Inputs, chosen: Mapping[str, np.ndarray], why: Explanation | None, with_texts: bool) -> Browser:
    """What the page shows of the chosen battles; texts only where there are some and they are wanted."""
    kinds: dict[int, list[str]] = {}
    for kind, rows in chosen.items():
        for row in rows.tolist():
            kinds.setdefault(row, []).append(kind)
    rows = np.array(list(kinds), dtype=np.int64)
    show_texts = with_texts and inputs.prompts is not None
    texts = _texts(inputs, rows) if show_texts else [{} for _ in rows]
    written = None if inputs.prompts is None else scripts(inputs.prompts.iloc[rows])
    places = {} if why is None else {int(row): at for at, row in enumerate(why.rows)}
    battles = [
        _battle(inputs, int(row), kinds[int(row)], None if why is None else (why, places.get(int(row))))
        | {"script": "" if written is None else str(written[at])}
        | texts[at]
        for at, row in enumerate(rows)
    ]
    for battle in battles:
        prompt = " ".join(battle["prompt"]) if show_texts else ""
        battle["title"] = prompt[:90] + ("…" if len(prompt) > 90 else "")
        battle["filters"] = _filter_values(battle)
    names = ("show", "vote", "favourite", "script", "model")
    filters = {name: sorted({value for battle in battles for value in battle["filters"][name]}) for name in names}
    filters["show"] = list(chosen)
    # A filter that tells nothing apart is none.
    return Browser(battles, {name: values for name, values in filters.items() if len(values) > 1}, show_texts)


def _filter_values(battle: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        "show": battle["kinds"],
        "vote": [battle["vote"]],
        "favourite": [battle["favourite"]],
        "script": [battle["script"] or "no letters"],
        "model": battle["models"],
    }


def _battle(
    inputs: Inputs, row: int, kinds: Sequence[str], why: tuple[Explanation, int | None] | None
) -> dict[str, Any]:
    vote = int(labels(inputs.battles.iloc[[row]])[0])
    stack = inputs.stack.probabilities[row]
    known = set(MODELS) <= set(inputs.battles.columns)
    models = [str(inputs.battles[name].iloc[row]) for name in MODELS] if known else []
    explained = None if why is None or why[1] is None else (why[0], why[1])
    return {
        "id": inputs.battles[ID].iloc[row],
        "vote": CLASS_NAMES[vote],
        "favourite": CLASS_NAMES[int(stack.argmax())],
        "probability": f"{percent(float(stack[vote]), 0)} for the vote",
        "kinds": list(kinds),
        "models": [] if set(models) == {UNKNOWN} else models,
        "predictions": _predictions(inputs, row),
        # Without ties there is nothing but the lead.
        "moved": None if explained is None else _moved(*explained, with_ties=bool(stack[2] > 0)),
    }


def _predictions(inputs: Inputs, row: int) -> Table:
    """Probabilities of the stack and the bases; of a base with swap TTA also those of each response order."""
    shown = [("stack", inputs.stack.probabilities[row])]
    for name, base in list(inputs.bases.items())[:MOST_MODELS]:
        shown.append((name, base.probabilities[row]))
        if base.plain is not None and base.swapped is not None:
            shown += [(f"{name}, as read", base.plain[row]), (f"{name}, exchanged", base.swapped[row])]
    rows = [[name, *(percent(float(value), 0) for value in values)] for name, values in shown]
    return Table(["probabilities", *CLASS_NAMES], rows, strong=[0])


def _moved(why: Explanation, at: int, with_ties: bool) -> Table:
    """The inputs that moved the stack's prediction most, in the battle's own order and with A and B exchanged.

    Exchanged, a lead is that of the same response: it is mapped back.
    """
    sides = ["lead of A", "tie"] if with_ties else ["lead of A"]
    values = why.values[at][:, : len(sides)]
    exchanged = (why.exchanged[at] * (-1, 1))[:, : len(sides)]
    sizes = np.abs(values).sum(axis=1)
    order = [place for place in np.argsort(-sizes, kind="stable") if why.names[place] != "constant"][:MOVED]
    rows = [
        [why.names[place], *(number(float(value), 2, sign=True) for value in (*values[place], *exchanged[place]))]
        for place in order
    ]
    total = [*values.sum(axis=0), *exchanged.sum(axis=0)]
    rows.append(["all inputs", *(number(float(value), 2, sign=True) for value in total)])
    head = ["moved most by", *sides, *(f"{side}, exchanged" for side in sides)]
    return Table(head, rows, strong=[len(rows) - 1])


def _texts(inputs: Inputs, rows: np.ndarray) -> list[dict[str, list[str]]]:
    """The turns of the texts of some battles, as much of them as the page has room for."""
    table = inputs.texts(rows)
    room = min(LONGEST_TEXT, MOST_CHARACTERS // max(1, 3 * len(rows)))
    cells = (
        {name: json.loads(cell) for name, cell in zip(TEXTS, row, strict=True)} for row in table.itertuples(index=False)
    )
    return [{name: _cut(turns, room) for name, turns in texts.items()} for texts in cells]


def _cut(turns: Sequence[str | None], room: int) -> list[str]:
    """Turns of at most `room` characters together; a null turn says that it is one."""
    shown, left = [], room
    for turn in turns:
        text = "(no text)" if turn is None else _valid(turn)
        if len(text) > left:
            shown.append(f"{text[:left]}\n… {len(text) - left:,} {_COUNTED}")
            break
        shown.append(text)
        left -= len(text)
    rest = len(turns) - len(shown)
    return [*shown, f"… {rest} more turns"] if rest else shown


def _valid(text: str) -> str:
    """Text that UTF-8 and HTML can hold: lone surrogates and control characters become U+FFFD."""
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return "".join(c if c.isprintable() or c in "\n\t" or c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in joined)
