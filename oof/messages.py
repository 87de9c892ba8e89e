"""How a value from a user's file is shown in the one line of a refusal."""

import numpy as np

LONGEST = 200


def shown(value: object) -> str:
    """Text as it is, anything else as Python writes it: on one line, printable, of at most 200 characters."""
    plain = value.item() if isinstance(value, np.generic) else value
    text = plain if isinstance(plain, str) else repr(plain)
    cut = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)
