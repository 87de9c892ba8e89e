"""Files of battles, good and malformed, made in code: name → file name, bytes, and the ids that must come out of it.

Where no ids are named, the file must be refused.
"""

import csv
import gzip
import io
import json
import zipfile
from dataclasses import dataclass

import numpy as np
import pandas as pd

from battles.checks import TRAINING_COLUMNS
from tests.robustness.corpus_rows import (
    FORMATS,
    IDS,
    ROWS,
    as_csv,
    as_jsonl,
    as_parquet,
    changed,
    malformed_tables,
    odd_but_good_tables,
    rows,
    without,
)


@dataclass(frozen=True)
class BattleFile:
    """A file of voted battles: its name, its content, and the ids of its battles if it is a good one."""

    file: str
    raw: bytes
    ids: list[str] | None = None


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    return buffer.getvalue()


def battle_files() -> dict[str, BattleFile]:
    """The corpus of battle files by name."""
    found: dict[str, BattleFile] = {}
    for kind, make in FORMATS.items():
        for name, table in malformed_tables().items():
            found[f"{kind}: {name}"] = BattleFile(f"train.{kind}", make(table))
        for name, table in odd_but_good_tables().items():
            found[f"{kind}: {name}"] = BattleFile(f"train.{kind}", make(table), [str(row["id"]) for row in table])
    return found | _csv_files() | _jsonl_files() | _parquet_files() | _archives()


def _csv_files() -> dict[str, BattleFile]:
    good, table = as_csv(rows()), rows()
    lines = good.split(b"\n")
    text = good.decode()
    files = {
        "a file that is empty": b"",
        "only a line end": b"\n",
        "only a header": lines[0] + b"\n",
        "no header": b"\n".join(lines[1:]),
        "another header": good.replace(b"winner_tie", b"tie", 1),
        "a header in capitals": lines[0].upper() + b"\n" + b"\n".join(lines[1:]),
        "a column twice": as_csv(table, [*TRAINING_COLUMNS[:-1], "prompt"]),
        "semicolons": good.replace(b",", b";"),
        "tabs": good.replace(b",", b"\t"),
        "UTF-16": text.encode("utf-16"),
        "UTF-16 without a mark": text.encode("utf-16-le"),
        "UTF-32": text.encode("utf-32"),
        "Latin-1": as_csv(changed(response_a='["café"]')).decode().encode("latin-1"),
        "invalid UTF-8": good.replace(b"answer 3", b"answer \xff\xfe"),
        "invalid UTF-8 in the header": good.replace(b"winner_tie", b"winner_\xfftie", 1),
        "a NUL byte in a name": good.replace(b"id,", b"i\0d,", 1),
        "NUL bytes only": bytes(500),
        "a row with a field less": b"\n".join([*lines[:4], lines[4].rpartition(b",")[0], *lines[5:]]),
        "a row with a field more": b"\n".join([*lines[:4], lines[4] + b",1", *lines[5:]]),
        "an unclosed quote": good[: good.rindex(b'"')],
        "an open quote in the middle": b"\n".join([*lines[:4], b'3,"open,' + lines[4], *lines[5:]]),
        "a quote after text": b"\n".join([*lines[:4], b'3,x"y"z",' + lines[4].partition(b",")[2], *lines[5:]]),
        "cut off in a row": good[:-9],
        "an image": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4,
        "HTML": b"<!doctype html><html><body>Not found, sorry</body></html>",
        "a Parquet file": as_parquet(table),
        "a gzip file": gzip.compress(good),
    }
    found = {f"csv: {name}": BattleFile("train.csv", raw) for name, raw in files.items()}
    fine = {
        "a byte-order mark": b"\xef\xbb\xbf" + good,
        "Windows line ends": good.replace(b"\n", b"\r\n"),
        "blank lines between rows": good.replace(b"\n", b"\n\n"),
        "no last line end": good.rstrip(b"\n"),
        "everything quoted": "\n".join(
            ",".join('"' + field.replace('"', '""') + '"' for field in line) for line in csv.reader(io.StringIO(text))
        ).encode(),
    }
    found |= {f"csv: {name}": BattleFile("train.csv", raw, IDS) for name, raw in fine.items()}
    for name in ("train", "train.txt", "train.xlsx", "train.csv.bz2", "train.json", "train.tsv", "train.pkl"):
        found[f"a file named {name}"] = BattleFile(name, good)
    return found


def _jsonl_files() -> dict[str, BattleFile]:
    good, lines = as_jsonl(rows()), as_jsonl(rows()).split(b"\n")
    typed = [
        row
        | {"id": int(row["id"])}
        | {name: json.loads(row[name]) for name in ("prompt", "response_a", "response_b")}
        | {name: bool(int(row[name])) for name in TRAINING_COLUMNS[-3:]}
        for row in rows()
    ]
    refused = {
        "one list of rows": json.dumps(rows()).encode(),
        "rows over several lines": json.dumps(rows()[0], indent=1).encode(),
        "a row that is a list": b"\n".join([*lines[:4], b"[1, 2]", *lines[5:]]),
        "a row that is a number": b"\n".join([*lines[:4], b"17", *lines[5:]]),
        "a row that is cut off": good[:-30],
        "a row without a column": b"\n".join([*lines[:4], json.dumps(without("prompt")[3]).encode(), *lines[5:]]),
        "a null id": as_jsonl(changed(id=None)),
        "an id of a fraction": as_jsonl(changed(id=1.5)),
        "an id of a list": as_jsonl(changed(id=[1])),
        "a boolean id": as_jsonl(changed(id=True)),
        "a NaN vote": as_jsonl(changed(winner_tie=float("nan"))),
        "an infinite vote": as_jsonl(changed(winner_tie=float("inf"))),
        "a vote of 0.5": as_jsonl(changed(winner_tie=0.5)),
        "a null vote": as_jsonl(changed(winner_tie=None)),
        "a vote of a list": as_jsonl(changed(winner_tie=[1])),
        "a huge vote": as_jsonl(changed(winner_tie=10**400)),
        "a null prompt": as_jsonl(changed(prompt=None)),
        "a prompt of an object": as_jsonl(changed(prompt={"role": "user", "content": "hi"})),
        "a prompt of chat turns": as_jsonl(changed(prompt=[{"role": "user"}])),
        "a model that is a number": as_jsonl(changed(model_a=7)),
        "a lone surrogate as an id": as_jsonl(changed(id="\ud800")),
        "deep brackets": b"[" * 100_000 + b"\n",
        "UTF-16": good.decode().encode("utf-16"),
        "invalid UTF-8": good.replace(b"answer 3", b"answer \xff"),
        "nothing but blank lines": b"\n \n\t\n",
        "a CSV": as_csv(rows()),
    }
    found = {f"jsonl: {name}": BattleFile("train.jsonl", raw) for name, raw in refused.items()}
    fine = {
        "types of JSON": as_jsonl(typed),
        "a byte-order mark": b"\xef\xbb\xbf" + good,
        "blank lines": good.replace(b"\n", b"\n\n"),
        "Windows line ends": good.replace(b"\n", b"\r\n"),
    }
    found |= {f"jsonl: {name}": BattleFile("train.jsonl", raw, IDS) for name, raw in fine.items()}
    return found | {"jsonl: named ndjson": BattleFile("train.ndjson", good, IDS)}


def _parquet_files() -> dict[str, BattleFile]:
    good, table = as_parquet(rows()), pd.DataFrame(rows())
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 16

    def written(frame: pd.DataFrame) -> bytes:
        buffer = io.BytesIO()
        frame.to_parquet(buffer)
        return buffer.getvalue()

    dates = pd.Series(pd.date_range("2024-01-01", periods=ROWS))
    refused = {
        "empty": b"",
        "only its magic": b"PAR1PAR1",
        "cut off": good[: len(good) // 2],
        "without its last byte": good[:-1],
        "a broken footer": good[:-400] + bytes(392) + good[-8:],
        "a footer of another length": good[:-8] + b"\xff\xff\xff\x7f" + good[-4:],
        "no rows": written(table.head(0)),
        "ids of fractions": written(table.assign(id=np.arange(ROWS) + 0.5)),
        "ids of dates": written(table.assign(id=dates)),
        "ids of bytes": written(table.assign(id=[b"\xff%d" % number for number in range(ROWS)])),
        "null ids": written(table.assign(id=None)),
        "votes of NaN": written(table.assign(winner_tie=np.nan)),
        "votes of dates": written(table.assign(winner_tie=dates)),
        "votes of 2": written(table.assign(winner_tie=2)),
        "prompts of bytes": written(table.assign(prompt=[b'["\xff"]'] * ROWS)),
        "prompts of numbers": written(table.assign(prompt=np.arange(ROWS))),
        "prompts of objects": written(table.assign(prompt=[{"role": "user"}] * ROWS)),
        "null prompts": written(table.assign(prompt=None)),
        "names of numbers": written(table.assign(model_a=np.arange(ROWS))),
        "another program's table": written(pd.DataFrame({"x": [1, 2]})),
    }
    found = {f"parquet: {name}": BattleFile("train.parquet", raw) for name, raw in refused.items()}
    votes = {name: table[name].astype(int) for name in TRAINING_COLUMNS[-3:]}
    lists = {name: [json.loads(cell) for cell in table[name]] for name in ("prompt", "response_a", "response_b")}
    fine = {
        "types of its own": written(table.assign(id=table["id"].astype(int), **votes, **lists)),
        "an index": written(table.set_index(np.arange(ROWS) + 5)),
        "unsigned votes": written(table.assign(**{name: value.astype("uint8") for name, value in votes.items()})),
        "votes of fractions 0.0 and 1.0": written(table.assign(**{n: v.astype("float32") for n, v in votes.items()})),
    }
    found |= {f"parquet: {name}": BattleFile("train.parquet", raw, IDS) for name, raw in fine.items()}
    return found | {"parquet: named pq": BattleFile("train.pq", good, IDS)}


def _archives() -> dict[str, BattleFile]:
    good = as_csv(rows())
    packed, archive = gzip.compress(good), zipped({"train.csv": good})
    encrypted = bytearray(archive)
    encrypted[archive.index(b"PK\x01\x02") + 8] |= 1
    broken = bytearray(packed)
    broken[len(packed) // 2] ^= 255
    refused = {
        "train.csv.gz": {
            "cut off": packed[: len(packed) // 2],
            "without its checksum": packed[:-8],
            "empty": b"",
            "plain text": good,
            "a flipped byte": bytes(broken),
            "an archive inside": gzip.compress(archive),
            "nothing inside": gzip.compress(b""),
            "only a header inside": gzip.compress(good.partition(b"\n")[0]),
        },
        "train.csv.zip": {
            "two members": zipped({"train.csv": good, "test.csv": good}),
            "no members": zipped({}),
            "a text inside": zipped({"readme.txt": good}),
            "cut off": archive[: len(archive) // 2],
            "empty": b"",
            "plain text": good,
            "encrypted": bytes(encrypted),
            "an empty member": zipped({"train.csv": b""}),
            "a bomb": zipped({"train.csv": good.partition(b"\n")[0] + b"\n" + b"0" * 30_000_000}),
        },
        "train.parquet.gz": {"Parquet in gzip": gzip.compress(as_parquet(rows()))},
    }
    found = {f"{file}: {name}": BattleFile(file, raw) for file, cases in refused.items() for name, raw in cases.items()}
    fine = {
        "train.csv.gz": packed,
        "train.jsonl.gz": gzip.compress(as_jsonl(rows())),
        "train.csv.zip": archive,
        "train.zip": zipped({"data/train.csv": good, "__MACOSX/._train.csv": b"shadow"}),
    }
    return found | {f"{file}: good": BattleFile(file, raw, IDS) for file, raw in fine.items()}
