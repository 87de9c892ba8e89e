"""Conversations as lists of messages, and winners in words, as the Arena's data sets hold them."""

import json
from typing import Any

from battles.checks import RowError
from battles.errors import shown
from battles.schema import Turns

# The Arena's words for a vote; a tie of two bad answers is a tie, as in the competition's data.
VOTES = {
    "model_a": (1, 0, 0),
    "model_b": (0, 1, 0),
    "tie": (0, 0, 1),
    "tie (bothbad)": (0, 0, 1),
    "both_bad": (0, 0, 1),
}


def votes_of(value: Any, ties: bool = True) -> tuple[int, int, int]:
    """The three votes, one of them 1, of a winner in words; without `ties` only of model_a and model_b.

    Raises RowError.
    """
    words = tuple(VOTES) if ties else tuple(VOTES)[:2]
    word = value.strip() if isinstance(value, str) else value
    if word not in words:
        raise RowError("winner", f"{shown(value)} is not a winner; write one of {', '.join(words)}")
    return VOTES[word]


def turns_of(column: str, value: Any) -> tuple[Turns, Turns]:
    """The user's turns and the model's, as many of one as of the other, of a list of messages or of its JSON text.

    A message is an object with `role` and `content`. Content is text, null, or a list of parts with a `text` each;
    parts are joined by line breaks. A turn without an answer has the answer null. System messages are left out, as
    voters do not see them. Raises RowError for an image and for anything else.
    """
    messages = _decoded(column, value)
    prompts: Turns = []
    answers: Turns = []
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise RowError(column, f"message {number} is {shown(message)}; write an object with role and content")
        text = _text(column, number, message["content"])
        if message["role"] == "user":
            answers += [None] * (len(prompts) - len(answers))
            prompts.append(text)
        elif message["role"] == "assistant":
            if len(answers) >= len(prompts):
                raise RowError(column, f"message {number} is an answer to nothing; write one after each of the user's")
            answers.append(text)
        elif message["role"] != "system":
            raise RowError(
                column, f"message {number} has the role {shown(message['role'])}; write user, assistant or system"
            )
    return prompts, answers + [None] * (len(prompts) - len(answers))


def _decoded(column: str, value: Any) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RowError(column, f"{shown(value)} is not JSON; write a JSON list of messages") from None
    if not isinstance(value, list):
        raise RowError(column, f"{shown(value)} is not a list; write a list of messages with role and content")
    return value


def _text(column: str, number: int, content: Any) -> str | None:
    """The text of a message's content; None for no text at all."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise RowError(column, f"message {number} holds {shown(content)}; write its content as text")
    texts = []
    for part in content:
        if not isinstance(part, dict):
            raise RowError(column, f"message {number} holds the part {shown(part)}; write an object with type and text")
        if "image" in str(part.get("type")) or part.get("image") or part.get("image_url"):
            raise RowError(column, f"message {number} holds an image; leave such battles out: only texts are read")
        text = part.get("text")
        if not isinstance(text, str):
            raise RowError(column, f"message {number} holds the part {shown(part)}; every part needs a text")
        texts.append(text)
    return "\n".join(texts) if texts else None
