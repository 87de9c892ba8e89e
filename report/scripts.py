"""The script that a prompt is written in: what can be told of its language without a model of languages."""

import json
import re
from collections.abc import Iterable

import numpy as np

NONE, LATIN = "", "Latin"
# Unicode blocks of letters; Latin is what is left.
_SCRIPTS = {
    "Cyrillic": "\u0400-\u052f",
    "Greek": "\u0370-\u03ff",
    "Hebrew": "\u0590-\u05ff",
    "Arabic": "\u0600-\u06ff\u0750-\u077f",
    "Indic": "\u0900-\u0dff",
    "Thai": "\u0e00-\u0e7f",
    "Korean": "\u1100-\u11ff\uac00-\ud7af",
    "Japanese": "\u3040-\u30ff",
    "Chinese": "\u4e00-\u9fff\u3400-\u4dbf",
}
_LETTERS = {name: re.compile(f"[{block}]") for name, block in _SCRIPTS.items()}
# Characters of a prompt that are looked at: its script shows soon.
_LOOKED_AT = 1000
_LATIN_LETTERS = re.compile("[A-Za-z\u00c0-\u024f]")


def script(text: str) -> str:
    """The script of most letters of a text, `Latin` or one of those above; empty without letters.

    Kanji count as Japanese where there is kana beside them.
    """
    counts = {LATIN: len(_LATIN_LETTERS.findall(text))}
    if not text.isascii():
        counts |= {name: len(letters.findall(text)) for name, letters in _LETTERS.items()}
        if counts["Japanese"]:
            counts["Japanese"] += counts.pop("Chinese")
    most = max(counts, key=counts.__getitem__)
    return most if counts[most] else NONE


def scripts(prompts: Iterable[str]) -> np.ndarray:
    """The script of each prompt, JSON text of its turns: text (n,)."""
    texts = (" ".join(turn or "" for turn in json.loads(cell)) for cell in prompts)
    return np.array([script(text[:_LOOKED_AT]) for text in texts], dtype=object)
