"""The files that a user gives a run: their hash, and that what is read is what was hashed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from battles.errors import BadInput
from battles.files import content_hash, file_hash, file_hashes
from battles.raw_rows import files_of


def input_hash(path: str | Path) -> str:
    """The SHA-256 of a file or, of a folder of files of one table, a hash of their names and theirs.

    Raises BadInput for a folder without such files.
    """
    path = Path(path)
    return content_hash(file_hashes(path, [file.name for file in files_of(path)])) if path.is_dir() else file_hash(path)


def source_hash(source: Mapping[str, Any]) -> str:
    """The hash of an input file; the embedded sample's is not in the stamp, which is written before the sample."""
    return source["sha256"] or input_hash(source["path"])


@contextmanager
def unchanged(variable: str, source: Mapping[str, Any]) -> Iterator[None]:
    """A context that reads an input file: raises BadInput unless what was read is what its stamp has the hash of.

    The hash is taken after the reading, and a file that is written to in between shows it by its times.
    """
    path = Path(source["path"])
    before = _state(path)
    yield
    found = input_hash(path)
    if _state(path) != before or source["sha256"] not in (None, found):
        raise BadInput(
            f"{variable}: {path} has changed since this call of make began; once it is whole, give the same call again"
        )


def _state(path: Path) -> list[tuple[Path, int, int, int, int]]:
    """What changes with the content of files, the time of the last change among it, which nobody can set back."""
    if not path.exists():  # who reads it says so
        return []
    found = [(file, file.stat()) for file in files_of(path)]
    return [(file, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for file, one in found]
