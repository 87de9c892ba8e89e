"""The one exception for what a user can mend: a file, a setting, a missing model."""


class BadInput(ValueError):
    """A refusal in one line: names the file or setting, the value found, and the fix.

    A stage prints it as `error: …` and ends with exit code 2, having written nothing.
    """
