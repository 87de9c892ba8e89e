"""The manifest beside a submission: which files, hashes and params it came from."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from battles.files import file_hash


def manifest(
    submission: Path, rows: int, artefacts: Iterable[Path], params: Mapping[str, Any], about: Mapping[str, Any]
) -> dict[str, Any]:
    """A JSON value: the submission's hash and rows, `about` (code version, libraries, figures), the hash of
    every artefact that it was computed from, and the resolved params of each section."""
    return {
        "submission": {"file": submission.as_posix(), "sha256": file_hash(submission), "rows": rows},
        **about,
        "artefacts": {path.as_posix(): file_hash(path) for path in sorted(artefacts)},
        "params": dict(params),
    }
