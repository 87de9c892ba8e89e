"""What a run was asked for: kept beside its params, so that after the first call the name of the run is enough."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from battles.errors import BadInput
from battles.files import read_json, write_json

FILE = "call.json"
# The value that takes a setting of an earlier SET back to that of params.yaml.
DEFAULT = "default"


@dataclass(frozen=True)
class Call:
    """The variables of make that a run keeps.

    An empty one was not given. FOLDS, NPROC and AGAIN are of one call only.
    """

    profile: str = ""
    train: str = ""
    test: str = ""
    format: str = ""
    overrides: str = ""
    table: str = ""
    bases: str = ""
    features: str = ""
    allow_suspect: str = ""
    texts: str = ""

    def after(self, earlier: "Call") -> "Call":
        """This call with what it leaves out taken from an earlier one.

        The words of SET are added to the earlier ones.
        """
        # Battles and tables are never mixed: a run of the other source is refused by name.
        other = ("train", "test", "format") if self.table else ("table", "bases", "features") if self.train else ()
        earlier = replace(earlier, **dict.fromkeys(other, ""))
        merged = {field.name: getattr(self, field.name) or getattr(earlier, field.name) for field in fields(self)}
        return replace(Call(**merged), overrides=merge_overrides(earlier.overrides, self.overrides))


def merge_overrides(earlier: str, later: str) -> str:
    """The words `section.key=value` of two SETs; a later word replaces that of the same key, `default` drops it."""
    words: dict[str, str] = {}
    for word in [*earlier.split(), *later.split()]:
        key, _, value = word.partition("=")
        words.pop(key, None)
        if value != DEFAULT:
            words[key] = word
    return " ".join(words.values())


def read(folder: Path) -> Call:
    """The call that a run's params folder remembers.

    An empty one before the first call. Raises BadInput if unreadable.
    """
    path = folder / FILE
    if not path.exists():
        return Call()
    try:
        return Call(**read_json(path, sealed=True))
    except (BadInput, TypeError):
        raise BadInput(
            f"{path}: damaged, so that the variables of the run's first call are not known; delete it and give them "
            "again"
        ) from None


def write(folder: Path, call: Call) -> None:
    """Remembers a call that was found to be right."""
    path = folder / FILE
    if not path.exists() or read(folder) != call:
        write_json(path, asdict(call), sealed=True)
