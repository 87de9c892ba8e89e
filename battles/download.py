"""Fetching one published file over HTTP: a broken transfer goes on where it stopped, and what arrives is checked.

huggingface_hub and its hf-xet go on within a call only; here a later call does too.
"""

import http.client
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from battles.errors import BadInput, shown
from battles.files import file_hash
from battles.progress import Progress

# Times that a transfer is taken up again in one call.
RETRIES = 5
TIMEOUT_SECONDS = 60.0
_CHUNK = 2**20
_BROKEN = (OSError, http.client.HTTPException)  # urllib's errors and time-outs are among them


@dataclass(frozen=True)
class Published:
    """What is known of a published file: bytes, SHA-256 in hex, and rows of battles; None where it is not known."""

    size: int | None = None
    sha256: str | None = None
    rows: int | None = None

    def check(self, path: Path) -> str:
        """The SHA-256 of a file; raises BadInput unless the file is the published one."""
        size, sha256 = path.stat().st_size, file_hash(path)
        if self.size is not None and size != self.size:
            raise BadInput(f"{path}: {size:,} bytes, the published file has {self.size:,}; fetch it again")
        if self.sha256 is not None and sha256 != self.sha256:
            raise BadInput(
                f"{path}: its SHA-256 is {sha256[:16]}…, the published file has {self.sha256[:16]}…; fetch it again"
            )
        return sha256


def part_of(target: Path) -> Path:
    """Where what has arrived of a file lies until it is whole."""
    return target.with_name(f".{target.name}.part")


def fetch(url: str, target: Path, published: Published) -> None:
    """Brings a file to `target`, whole or not at all; what a broken transfer left beside it is gone on with.

    Raises BadInput for a server that does not answer or refuses, a full disk, and a file that is not the published one,
    which is then removed.
    """
    part = part_of(target)
    part.parent.mkdir(parents=True, exist_ok=True)
    if published.size is not None and part.exists() and part.stat().st_size > published.size:
        part.unlink()
    for attempt in range(RETRIES + 1):
        have = part.stat().st_size if part.exists() else 0
        try:
            _transfer(url, part, target.name, published.size)
        except _BROKEN as error:
            came = (part.stat().st_size if part.exists() else 0) - have
            refused = isinstance(error, urllib.error.HTTPError)
            if refused or not came or attempt == RETRIES:
                raise BadInput(_broken(url, part, error)) from None
        else:
            break
    settle(part, target, published, url)


def settle(part: Path, target: Path, published: Published, source: str) -> None:
    """Puts what came from `source` in its place if it is the published file; else removes it and raises BadInput."""
    try:
        published.check(part)
    except BadInput as wrong:
        part.unlink()
        raise BadInput(
            f"{source}: what came is another file: {str(wrong).partition('; ')[0]}; it was removed"
        ) from None
    part.replace(target)


def _transfer(url: str, part: Path, name: str, size: int | None) -> None:
    """One request, for what is still missing; raises one of _BROKEN when it ends early."""
    have = part.stat().st_size if part.exists() else 0
    if size is not None and have == size:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing is missing: the check tells whether it is the file
            raise
        return
    with answer:
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if not goes_on:  # the server sends the file from its beginning
            have = 0
        left = int(answer.headers.get("Content-Length") or 0)
        free = shutil.disk_usage(part.parent).free
        if left > free:
            raise BadInput(f"{part.parent}: {free:,} bytes are free and {left:,} are to come; free some space")
        with part.open("ab" if goes_on else "wb") as file, Progress(f"{name}, MB", (have + left) // 10**6) as progress:
            progress.skip(have // 10**6)
            _copy(answer, file, left, progress)


def _copy(answer: Any, file: Any, left: int, progress: Progress) -> None:
    came = 0
    while block := answer.read(_CHUNK):
        file.write(block)
        progress.advance((came + len(block)) // 10**6 - came // 10**6)
        came += len(block)
    if left and came < left:  # the connection was closed early
        raise http.client.IncompleteRead(b"", left - came)


def _broken(url: str, part: Path, error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"{url}: the server refuses it ({error.code} {shown(error.reason)}); look at its page in a browser"
    reason = getattr(error, "reason", None) or error
    have = part.stat().st_size if part.exists() else 0
    rest = f"goes on after {have:,} bytes" if have else "tries again"
    return f"{url}: broken off ({shown(str(reason) or type(reason).__name__)}); the same call {rest}"
