"""Prompt text of a battle: what a language model gets to read."""

import pandas as pd

from battles.schema import TEXTS, Turns, turns


def text(row: Turns) -> str:
    """The turns of one side as one text, blank line between turns; null turns are empty.

    Surrogate pairs are joined and lone surrogates become U+FFFD, because tokenizers take only valid Unicode.
    """
    joined = "\n\n".join(turn or "" for turn in row)
    return joined.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def parts(table: pd.DataFrame) -> tuple[list[str], list[str], list[str]]:
    """The texts of prompt, response A and response B, each one string per battle."""
    prompt, first, second = ([text(row) for row in turns(table[column])] for column in TEXTS)
    return prompt, first, second


def parts_by_turn(table: pd.DataFrame) -> tuple[list[list[str]], list[list[str]], list[list[str]]]:
    """The texts of prompt, response A and response B, turn by turn: lists of as many strings as the battle has turns.

    What has fewer turns than the other two is empty in those that it lacks; a battle has one turn at least.
    """
    prompt, first, second = ([[text([turn]) for turn in row] for row in turns(table[column])] for column in TEXTS)
    for battle in zip(prompt, first, second, strict=True):
        count = max(1, *map(len, battle))
        for part in battle:
            part += [""] * (count - len(part))
    return prompt, first, second
