"""How a value from a user's file is shown in the one line of a refusal."""

LONGEST = 200


def shown(value: object) -> str:
    """Text as it is, anything else as Python writes it: on one line, printable, of at most 200 characters."""
    text = value if isinstance(value, str) else repr(value)
    cut = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)
