"""Files of battles, good and malformed, made in code: name → file name, bytes, and the ids that must come out of it.

Where no ids are named, the file must be refused.
"""

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from battles.checks import TRAINING_COLUMNS

Row = dict[str, Any]
ROWS = 12


@dataclass(frozen=True)
class BattleFile:
    """A file of voted battles: its name, its content, and the ids of its battles if it is a good one."""

    file: str
    raw: bytes
    ids: list[str] | None = None


def rows(count: int = ROWS) -> list[Row]:
    """Good battles, every cell as text."""
    found = []
    for number in range(count):
        cells = [json.dumps([f"{kind} {number}"]) for kind in ("prompt", "answer", "reply")]
        votes = ["1" if number % 3 == place else "0" for place in range(3)]
        found.append(dict(zip(TRAINING_COLUMNS, [str(number), "model x", "model y", *cells, *votes], strict=True)))
    return found


IDS = [row["id"] for row in rows()]


def as_csv(table: list[Row], header: list[str] | None = None) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(table[0]) if header is None and table else header or list(TRAINING_COLUMNS)
    writer.writerow(names)
    writer.writerows([row.get(name) for name in (table[0] if table else names)] for row in table)
    return text.getvalue().encode("utf-8", "surrogatepass")


def as_jsonl(table: list[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in table).encode()


def as_parquet(table: list[Row]) -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame(table).to_parquet(buffer)
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    return buffer.getvalue()


FORMATS: dict[str, Callable[[list[Row]], bytes]] = {"csv": as_csv, "jsonl": as_jsonl, "parquet": as_parquet}


def changed(**cells: Any) -> list[Row]:
    """Good battles but for these cells of the fourth."""
    table = rows()
    table[3] |= cells
    return table


def _without(name: str) -> list[Row]:
    return [{key: value for key, value in row.items() if key != name} for row in rows()]


def battle_files() -> dict[str, BattleFile]:
    """The corpus of battle files by name."""
    found: dict[str, BattleFile] = {}
    for kind, make in FORMATS.items():
        for name, table in _malformed_tables().items():
            found[f"{kind}: {name}"] = BattleFile(f"train.{kind}", make(table))
        for name, table in _odd_but_good_tables().items():
            found[f"{kind}: {name}"] = BattleFile(f"train.{kind}", make(table), [str(row["id"]) for row in table])
    return found | _csv_files() | _jsonl_files() | _parquet_files() | _archives()


def _malformed_tables() -> dict[str, list[Row]]:
    twice = rows()
    twice[5]["id"] = twice[2]["id"]
    votes = {"winner_model_a": "0", "winner_model_b": "0", "winner_tie": "0"}
    bad_votes = {
        "2": "a vote of 2",
        "-1": "a vote of -1",
        "NaN": "a vote of NaN",
        "yes": "a vote of yes",
        "": "no vote",
    }
    tables = {f"without {name}": _without(name) for name in TRAINING_COLUMNS}
    tables |= {said: changed(**votes | {"winner_tie": vote}) for vote, said in bad_votes.items()}
    return tables | {
        "an id twice": twice,
        "an empty id": changed(id=""),
        "an id of blanks": changed(id="  "),
        "no winner": changed(**votes),
        "two winners": changed(**votes | {"winner_tie": "1", "winner_model_a": "1"}),
        "three winners": changed(**dict.fromkeys(votes, "1")),
        "a prompt that is no JSON": changed(prompt="hello"),
        "a prompt that is an object": changed(prompt='{"a": 1}'),
        "a prompt that is a number": changed(prompt="17"),
        "a prompt of numbers": changed(prompt="[1, 2]"),
        "a prompt of lists": changed(prompt='[["deep"]]'),
        "a deeply nested prompt": changed(prompt="[" * 5000 + "]" * 5000),
        "an unfinished response": changed(response_a='["cut o'),
        "an empty response": changed(response_b=""),
        "a Python list": changed(response_b="['single', None]"),
        "one prompt for all": [row | {"prompt": '["the same"]'} for row in rows()],
    }


def _odd_but_good_tables() -> dict[str, list[Row]]:
    return {
        "good": rows(),
        "further columns": [row | {"language": "de", "note": "x"} for row in rows()],
        "null turns": changed(response_a='[null, ""]', response_b="[]"),
        "a lone surrogate as an escape": changed(response_a='["\\ud83d"]'),
        "a right-to-left text": changed(response_a='["\\u202e\\u05d0\\u0000\\u0007"]', id="אב"),
        "line ends in texts": changed(response_b='["a\\r\\nb\\u2028c\\u0085"]'),
        "a huge field": changed(response_a=json.dumps(["word " * 60_000])),
        "an id like a formula": changed(id='=cmd|"/c calc"!A1'),
        "an id with a leading zero": changed(id="007"),
        "long names": changed(model_a="m" * 3000),
        "missing names": changed(model_a="", model_b=""),
        "votes as words": changed(winner_model_a="true", winner_model_b="false", winner_tie="FALSE"),
        "votes with decimals": changed(winner_model_a="0.0", winner_model_b="1.0", winner_tie="0"),
        "columns in another order": [dict(reversed(row.items())) for row in rows()],
    }


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
        "a row without a column": b"\n".join([*lines[:4], json.dumps(_without("prompt")[3]).encode(), *lines[5:]]),
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
