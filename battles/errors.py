"""The one exception for what a user can mend: a file, a setting, a missing model."""

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
