"""The journal file of a run's studies: it only grows, so that what a finished stack wrote can be checked later."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def seal(path: Path) -> dict[str, Any]:
    """Length and SHA-256 of the journal as it is now (JSON values), for `repair`; later trials only append to it."""
    raw = path.read_bytes() if path.exists() else b""
    return {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def repair(path: Path, sealed: Mapping[str, Any] | None) -> str | None:
    """Makes the journal readable while no process writes to it; what was lost, in words, or None.

    A last line that a killed process left unfinished is cut off. A journal that is damaged elsewhere, or does not begin
    with what was `sealed`, is put aside as `<name>.damaged`: its trials are made again. Optuna would stop at every
    call, or go on from numbers that nobody measured.
    """
    if not path.exists():
        return None
    raw = path.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    damaged = False
    if sealed is not None:
        start = raw[: sealed["bytes"]]
        damaged = len(start) < sealed["bytes"] or hashlib.sha256(start).hexdigest() != sealed["sha256"]
    if damaged or not all(_is_log(line) for line in whole.splitlines()):
        path.replace(path.with_name(f"{path.name}.damaged"))
        return f"{path}: damaged; it is put aside as {path.name}.damaged and its trials are made again"
    if len(whole) < len(raw):
        with path.open("rb+") as file:
            file.truncate(len(whole))
        return f"{path}: the last line, which a killed process left unfinished, is cut off"
    return None


def _is_log(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
