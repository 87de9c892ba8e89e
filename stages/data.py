"""Brings the competition's `train.csv` and `test.csv` into `data/`, from Kaggle or, without the latter, Hugging Face.

`make data [COMPETITION=…] [FROM=kaggle|huggingface]`. What is there already and is the published file is left alone.
"""

import os
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from battles.archives import opened
from battles.download import Published, fetch, part_of, settle
from battles.errors import BadInput
from battles.reading import read_battles
from stages.common import guarded
from stages.variables import given, note_exported
from submission import kaggle

FOLDER = Path("data")
TRAIN, TEST = "train.csv", "test.csv"
KAGGLE, COPY = "kaggle", "huggingface"
_TRAIN_ROWS = 57_477
_TRAIN = Published(
    size=184_175_071, sha256="0692154aaf20fc6649090c3f49b6b5dd1e693a765ecb5f0856ae0da5946f5be2", rows=_TRAIN_ROWS
)
# The successor has the same battles; whether its file has the same bytes is said, not asked for.
PUBLISHED = {kaggle.COMPETITION: _TRAIN, kaggle.COMPETITIONS[1]: Published(rows=_TRAIN_ROWS)}
COPY_PATH = "datasets/lmarena-ai/arena-human-preference-55k/resolve/main/train.csv"
LICENCES = {
    KAGGLE: "its rules, which you accept on https://www.kaggle.com/competitions/{}/rules: no commercial use",
    COPY: "Apache-2.0 by the copy's card; the responses are under the terms of the models' makers",
}


def main() -> None:
    note_exported()
    competition = given("COMPETITION") or kaggle.COMPETITION
    if competition not in PUBLISHED:
        raise BadInput(f"COMPETITION: {competition!r}; make data knows {', '.join(PUBLISHED)}")
    source = _source(given("FROM"), competition)
    print(f"data: from {source}; licence: {LICENCES[source].format(competition)}")
    if source == KAGGLE:
        for name in (TRAIN, TEST):
            _bring(name, competition, partial(_from_kaggle, competition, name))
    else:
        endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        _bring(TRAIN, competition, partial(fetch, f"{endpoint}/{COPY_PATH}", FOLDER / TRAIN, PUBLISHED[competition]))
        print(f"data: the copy has no {TEST}, which holds a few battles for trying out; FROM={KAGGLE} brings it")


def _source(asked: str, competition: str) -> str:
    """Where the files come from; raises BadInput where that cannot be."""
    missing = kaggle.unready()
    if asked not in ("", KAGGLE, COPY):
        raise BadInput(f"FROM: {asked!r}; give {KAGGLE} or {COPY}, or leave it out")
    if asked == COPY and competition != kaggle.COMPETITION:
        raise BadInput(f"FROM: {COPY} has the battles of {kaggle.COMPETITION} only; leave COMPETITION or FROM out")
    if asked == COPY or (not asked and missing and competition == kaggle.COMPETITION):
        if not asked:
            print(f"note: {missing}")
        return COPY
    if missing:
        raise BadInput(f"FROM: {KAGGLE}: {missing}")
    return KAGGLE


def _bring(name: str, competition: str, get: Callable[[], None]) -> None:
    """Gets a file unless it is there, and checks it either way: size, SHA-256, and every battle in it."""
    path = FOLDER / name
    published = _published(competition, name)
    there = path.exists()
    if there:
        try:
            published.check(path)
        except BadInput as wrong:
            raise BadInput(f"{str(wrong).partition('; ')[0]}; move it away, then give the same call again") from None
    else:
        get()
    sha256 = published.check(path)
    rows = len(read_battles(path, voted=name == TRAIN))
    if published.rows not in (None, rows):
        raise BadInput(
            f"{path}: {rows:,} battles, the published file has {published.rows:,}; remove it and fetch it again"
        )
    same = ", the first competition's file" if sha256 == _TRAIN.sha256 else ""
    state = "is there already" if there else "is there"
    print(f"data: {path} {state}: {rows:,} battles, {path.stat().st_size:,} bytes, sha256 {sha256[:16]}…{same}")


def _from_kaggle(competition: str, name: str) -> None:
    """Has the client fetch a file, which goes on after a break, and unpacks it where it comes packed."""
    folder = FOLDER / ".kaggle"
    folder.mkdir(parents=True, exist_ok=True)
    kaggle.call(competition, "download", "-c", competition, "-f", name, "-p", str(folder), "-q")
    plain, packed = folder / name, folder / f"{name}.zip"
    part = part_of(FOLDER / name)
    if plain.exists():
        plain.replace(part)
    elif packed.exists():
        try:
            with opened(packed) as unpacked, part.open("wb") as file:
                while block := unpacked.read(2**20):
                    file.write(block)
        except (zipfile.BadZipFile, zlib.error, EOFError):
            packed.unlink()
            raise BadInput(f"{packed}: damaged; it was removed, the same call fetches it again") from None
        packed.unlink()
    else:
        raise BadInput(f"kaggle: it has fetched no {name} into {folder}; look at the competition's data page")
    settle(part, FOLDER / name, _published(competition, name), f"kaggle: {name}")


def _published(competition: str, name: str) -> Published:
    return PUBLISHED[competition] if name == TRAIN else Published()


if __name__ == "__main__":
    guarded(main)
