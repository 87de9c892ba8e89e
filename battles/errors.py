"""The one exception for what a user can mend, a file, a setting, a missing model; and how its line shows a value."""

from typing import Any

LONGEST_VALUE = 200
_LONGEST, _HEAD, _TAIL = 1000, 600, 300


class BadInput(ValueError):
    """A refusal in one line: names the file or setting, its value, and the fix.

    A stage prints it as `error: …` and ends with exit code 2, having written nothing. Line breaks become spaces, and
    a message of more than 1,000 characters loses its middle: a value may be a response of many megabytes.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(message.splitlines())
        if len(line) > _LONGEST:
            line = f"{line[:_HEAD]}... ({len(line):,} characters) ...{line[-_TAIL:]}"
        super().__init__(line)


def shown(value: Any, width: int = 60) -> str:
    """A value as it may be printed anywhere: one line, ASCII only, cut to `width` characters with its length said."""
    # A response may have megabytes: cut before the escapes are made.
    text = ascii(value[:width]) if isinstance(value, str | bytes) else ascii(value)
    size = len(value) if isinstance(value, str | bytes) else len(text)
    return f"{text[:width]}... ({size:,} characters)" if max(size, len(text)) > width else text


def plain(value: object) -> str:
    """Text as it is, such as a column's name, anything else as Python writes it: one line of at most 200 characters."""
    own = value.tolist() if hasattr(value, "tolist") else value  # a NumPy scalar
    text = own if isinstance(own, str) else repr(own)
    cut = text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)
