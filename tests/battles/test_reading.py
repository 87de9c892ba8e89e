"""Reading: everything that real files hold is kept exactly, everything wrong is refused in one line."""

import csv
import gzip
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from battles.errors import BadInput
from battles.reading import read_battles
from battles.schema import MODELS, TEXTS, WINNERS, labels, turns

Battle = dict[str, Any]
SHARED = Path(__file__).parents[2].parent / "shared" / "data"

ODD: list[list[str | None]] = [
    ["Hello"],
    [None, "after a null", None],
    ["", "after an empty turn"],
    [],
    ["half an emoji \ud83d", "\udc00"],
    ["whole 😀 \U0001f1e9\U0001f1ea", "مرحبا بالعالم \u200f", "日本語"],
    ['quotes " and \\ backslash, comma, "', "line\nfeed\r\nboth\ttab \x00\x07 \u2028 \x85"],
    [f"turn {i}" for i in range(400)],
    ["x" * 250_000],
    ["NaN", "null", "nan", "NA", "[]"],
]


def battles() -> list[Battle]:
    """One battle for each odd text, which wanders through the three text columns."""
    rows = []
    for i in range(len(ODD)):
        texts = {name: ODD[(i + k) % len(ODD)] for k, name in enumerate(TEXTS)}
        votes = {name: int(i % 3 == k) for k, name in enumerate(WINNERS)}
        rows.append({"id": f"0{i}", "model_a": "NA", "model_b": "m-β", **texts, **votes})
    return rows


def as_text(row: Battle, ascii_only: bool = True) -> Battle:
    """Text cells as JSON text, like the competition's; not ASCII where asked and where UTF-8 can hold it."""
    out = dict(row)
    for name in TEXTS:
        text = json.dumps(row[name], ensure_ascii=False)
        lone = any(0xD800 <= ord(character) < 0xE000 for character in text)
        out[name] = json.dumps(row[name]) if ascii_only or lone else text
    return out


def write_csv(
    path: Path, rows: list[Battle], ending: str = "\n", encoding: str = "utf-8", ascii_only: bool = True
) -> None:
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator=ending)
        writer.writeheader()
        writer.writerows(as_text(row, ascii_only) for row in rows)


def write_jsonl(path: Path, rows: list[Battle], ascii_only: bool = True) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows)


def packed(path: Path, how: str, inside: str | None = None) -> Path:
    target = path.with_name(path.name + how)
    if how == ".gz":
        target.write_bytes(gzip.compress(path.read_bytes()))
    else:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, inside or path.name)
            archive.writestr("__MACOSX/._shadow", "x")
    return target


def csv_plain(folder: Path) -> Path:
    write_csv(folder / "b.csv", battles())
    return folder / "b.csv"


def csv_windows(folder: Path) -> Path:
    write_csv(folder / "b.csv", battles(), ending="\r\n", encoding="utf-8-sig", ascii_only=False)
    return folder / "b.csv"


def csv_gzip(folder: Path) -> Path:
    return packed(csv_windows(folder), ".gz")


def csv_zip(folder: Path) -> Path:
    return packed(csv_plain(folder), ".zip")


def bare_zip(folder: Path) -> Path:
    packed(csv_plain(folder), ".zip", "some folder/train.CSV").rename(folder / "train.zip")
    return folder / "train.zip"


def jsonl_lists(folder: Path) -> Path:
    write_jsonl(folder / "b.jsonl", battles())
    return folder / "b.jsonl"


def jsonl_texts_gzip(folder: Path) -> Path:
    write_jsonl(folder / "b.jsonl", [as_text(row, ascii_only=False) for row in battles()], ascii_only=False)
    return packed(folder / "b.jsonl", ".gz")


def jsonl_bom_blank_lines(folder: Path) -> Path:
    write_jsonl(folder / "b.jsonl", battles())
    lines = (folder / "b.jsonl").read_bytes().replace(b"\n", b"\r\n\r\n")
    (folder / "b.jsonl").write_bytes(b"\xef\xbb\xbf" + lines)
    return folder / "b.jsonl"


def parquet_texts(folder: Path) -> Path:
    pd.DataFrame([as_text(row) for row in battles()]).to_parquet(folder / "b.parquet")
    return folder / "b.parquet"


WRITERS = [csv_plain, csv_windows, csv_gzip, csv_zip, bare_zip, jsonl_lists, jsonl_texts_gzip, jsonl_bom_blank_lines,
           parquet_texts]  # fmt: skip


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_format_keeps_everything(write: Callable[[Path], Path], tmp_path: Path) -> None:
    table, expected = read_battles(write(tmp_path), voted=True), battles()
    assert list(table.columns) == ["id", *MODELS, *TEXTS, *WINNERS]
    for name in TEXTS:
        assert turns(table[name]) == [row[name] for row in expected]
    assert table["id"].tolist() == [row["id"] for row in expected]
    assert table["model_a"].tolist() == ["NA"] * len(expected)
    assert table["model_b"].tolist() == ["m-β"] * len(expected)
    assert labels(table).tolist() == [i % 3 for i in range(len(expected))]
    table.to_parquet(tmp_path / "kept.parquet")  # every cell can be written as UTF-8


def test_parquet_with_native_lists(tmp_path: Path) -> None:
    kept = [row for row in battles() if not any("\ud83d" in (turn or "") for name in TEXTS for turn in row[name])]
    fields = {name: pa.large_list(pa.large_string()) if name == "prompt" else pa.list_(pa.string()) for name in TEXTS}
    columns = {name: pa.array([row[name] for row in kept], fields.get(name)) for name in kept[0]}
    columns["id"] = pa.array(range(7, 7 + len(kept)), pa.uint64())
    columns["winner_tie"] = pa.array([bool(row["winner_tie"]) for row in kept])
    columns["winner_model_a"] = pa.array([float(row["winner_model_a"]) for row in kept])
    pq.write_table(pa.table(columns), tmp_path / "b.parquet")
    table = read_battles(tmp_path / "b.parquet", voted=True)
    for name in TEXTS:
        assert turns(table[name]) == [row[name] for row in kept]
    assert table["id"].tolist() == [str(7 + i) for i in range(len(kept))]


def one(**changes: Any) -> Battle:
    row = {"id": "5", "model_a": "m", "model_b": "n", "prompt": ["p"], "response_a": ["a"], "response_b": ["b"]}
    return row | {"winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0} | changes


@pytest.mark.parametrize("yes", [1, "1", 1.0, "1.0", True, "True", " 1"])
@pytest.mark.parametrize("no", [0, "0", 0.0, "0.0", False, "false"])
def test_votes_in_any_usual_spelling(yes: Any, no: Any, tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    write_jsonl(path, [one(winner_model_a=no, winner_model_b=no, winner_tie=yes)])
    table = read_battles(path, voted=True)
    assert table[list(WINNERS)].to_numpy().tolist() == [[0, 0, 1]]
    assert table[list(WINNERS)].dtypes.eq("int8").all()


def test_a_test_file_needs_no_names_and_its_votes_are_never_read(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    write_csv(path, [{name: one()[name] for name in ("response_b", "id", "prompt", "response_a")}])
    assert list(read_battles(path, voted=False).columns) == ["id", *TEXTS]
    write_csv(path, [one(winner_tie="nonsense", another="column")])
    assert list(read_battles(path, voted=False).columns) == ["id", *MODELS, *TEXTS]


@pytest.mark.parametrize("name", [None, "", "  ", float("nan")])
def test_model_names_that_are_missing_become_unknown(name: object, tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    write_jsonl(path, [one(model_a=name, model_b=name)])
    assert read_battles(path, voted=True)[list(MODELS)].to_numpy().tolist() == [["unknown", "unknown"]]
    pd.DataFrame([as_text(one(model_a=name, model_b=name))]).to_parquet(tmp_path / "b.parquet")
    assert read_battles(tmp_path / "b.parquet", voted=True)["model_a"].tolist() == ["unknown"]


def test_ids_are_kept_as_they_stand(tmp_path: Path) -> None:
    write_csv(tmp_path / "b.csv", [one(id="007"), one(id="7"), one(id="1e3"), one(id="NA")])
    assert read_battles(tmp_path / "b.csv", voted=True)["id"].tolist() == ["007", "7", "1e3", "NA"]
    write_jsonl(tmp_path / "b.jsonl", [one(id=2**70), one(id="x y")])
    assert read_battles(tmp_path / "b.jsonl", voted=True)["id"].tolist() == [str(2**70), "x y"]


def refused(path: Path, *parts: str, voted: bool = True) -> None:
    with pytest.raises(BadInput) as caught:
        read_battles(path, voted)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert "\r" not in line
    assert line[len(str(path)) :].isascii()
    assert len(line) < len(str(path)) + 500
    assert ";" in line
    for part in parts:
        assert re.search(part, line), line


BAD_ROWS = {
    "two winners": (one(winner_tie=1), ["row 2, id '5'", "2 winners", "exactly one"]),
    "no winner": (one(winner_model_a=0), ["row 2, id '5'", "no winner"]),
    "vote out of range": (one(winner_tie=2), ["column winner_tie", "2", "write 0 or 1"]),
    "vote missing": (one(winner_tie=None), ["column winner_tie", "write 0 or 1"]),
    "vote half": (one(winner_tie=0.5), ["column winner_tie", r"0\.5"]),
    "duplicate id": (one(id="0"), ["row 2, id '0', column id", "row 1 has the same id"]),
    "empty id": (one(id=""), ["row 2, column id", "empty"]),
    "blank id": (one(id="  "), ["column id", "empty"]),
    "id of two lines": (one(id="5\n6"), [r"column id: '5\\n6'", "line break"]),
    "id with a line separator": (one(id="5\u2028"), ["column id", "line break"]),
    "id with a zero byte": (one(id="5\x00"), ["column id", "control character"]),
    "vote that is a date": (one(winner_tie="2024-05-01"), ["column winner_tie: '2024-05-01' is not a vote"]),
}
BAD_CELLS = {
    "no JSON": ("just text", ["column response_a", "not JSON", r'\["Hello"\]']),
    "Python's list": ("['a', None]", ["not JSON", "json.dumps", "null instead of None"]),
    "empty": ("", ["column response_a", "empty", r"\[null\]"]),
    "string": ('"text"', ["not a list"]),
    "null": ("null", ["None is not a list"]),
    "object": ('{"a": 1}', ["not a list"]),
    "number as turn": ('["a", 3]', ["turn 2 is 3", "string or null"]),
    "list as turn": ('[["a"]]', ["turn 1"]),
    "not a number": ("[NaN]", ["turn 1 is nan"]),
    "cut off": ('["a", "b', ["not JSON"]),
    "deep": ("[" * 100_000, ["not JSON|nested"]),
    "long and not ASCII": ("é😀" * 100_000, ["not JSON", r"\.\.\. \(200,000 characters\)"]),
    "keys that occur twice": ('[{"role": "a", "role": "b"}]', ["turn 1 is {'role': 'b'}"]),
}


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize(("row", "parts"), BAD_ROWS.values(), ids=list(BAD_ROWS))
def test_a_wrong_row_is_refused(kind: str, row: Battle, parts: list[str], tmp_path: Path) -> None:
    path = tmp_path / f"b.{kind}"
    (write_csv if kind == "csv" else write_jsonl)(path, [one(id="0"), row])
    refused(path, *parts)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(("cell", "parts"), BAD_CELLS.values(), ids=list(BAD_CELLS))
def test_a_wrong_text_is_refused_in_every_format(kind: str, cell: str, parts: list[str], tmp_path: Path) -> None:
    path, rows = tmp_path / f"b.{kind}", [as_text(one(id="0")), as_text(one()) | {"response_a": cell}]
    if kind == "csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    elif kind == "jsonl":
        write_jsonl(path, rows)
    else:
        pd.DataFrame(rows).to_parquet(path)
    refused(path, "row 2, id '5'", *parts)


def test_wrong_types_in_json_lines_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    for changes, parts in (
        ({"prompt": None}, ["column prompt", "null"]),
        ({"prompt": 3}, ["3 is not a list"]),
        ({"prompt": ["a", False]}, ["turn 2 is False"]),
        ({"id": 1.0}, [r"column id: 1\.0 is a float", "text or integers"]),
        ({"id": "5\r"}, [r"column id: '5\\r' holds a line break"]),
        ({"id": True}, ["column id: True"]),
        ({"id": None}, ["column id: None"]),
        ({"id": "\ud800"}, ["surrogate"]),
        ({"model_a": 3}, ["column model_a"]),
    ):
        write_jsonl(path, [one(**changes)])
        refused(path, "row 1", *parts)
    missing = one(id="6")
    del missing["response_b"]
    write_jsonl(path, [one(), missing])
    refused(path, "row 2, id '6', column response_b")


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    for gone, parts in (
        ("prompt", ["column prompt missing", "found 'id, model_a"]),
        ("model_a", ["column model_a missing"]),
        ("winner_tie", ["column winner_tie missing", "TEST="]),
    ):
        pd.DataFrame([as_text(one())]).drop(columns=gone).to_csv(path, index=False)
        refused(path, *parts)
    path.write_text("id;prompt;response_a;response_b\n1;2;3;4\n")
    refused(path, "with commas", voted=False)
    path.write_text("id,prompt,response_a,response_b,id\n")
    refused(path, "'id' occurs twice", voted=False)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.csv", "no such file")
    (tmp_path / "folder.csv").mkdir()
    refused(tmp_path / "folder.csv", "folder")
    for name in ("b.txt", "b.json", "b", "b.parquet.gz", "b.gz"):
        (tmp_path / name).write_bytes(b"something")
        refused(tmp_path / name, "unknown kind", r"\.csv")
    for name in ("b.csv", "b.jsonl", "b.parquet", "b.csv.gz", "b.csv.zip"):
        (tmp_path / name).write_bytes(b"")
        refused(tmp_path / name, "empty")
    for name in ("b.parquet", "b.csv.gz", "b.csv.zip"):
        (tmp_path / name).write_bytes(b"not what the name says")
        refused(tmp_path / name, "damaged|Parquet|cannot be read")


def test_files_without_a_battle_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    path.write_text(",".join(one()) + "\n\n")
    refused(path, "no battles")
    (tmp_path / "b.jsonl").write_text("\n\n")
    refused(tmp_path / "b.jsonl", "no battles")
    pd.DataFrame([as_text(one())]).iloc[:0].to_parquet(tmp_path / "b.parquet")
    refused(tmp_path / "b.parquet", "no battles")


def test_csv_that_is_malformed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    write_csv(path, [one(), one(id="6")])
    good = path.read_bytes()
    path.write_bytes(good.replace(b"6,m,n", b"6,m,n,extra"))
    refused(path, "row 2, id '6'", "10 fields, the header has 9")
    path.write_bytes(good.replace(b"6,m,n", b'"6\r",m,n'))
    refused(path, r"row 2, id '6\\r', column id", "line break")
    path.write_bytes(good[: good.rindex(b"b")])
    refused(path, "row 2", "not valid CSV")
    path.write_bytes(good.replace(b'6,m,n,"[""p""]"', b'6,m,n,"["p"]"'))
    refused(path, "row 2", "not valid CSV")


def test_files_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    write_csv(path, [one(), one(id="6", prompt=["café"])], encoding="latin-1", ascii_only=False)
    refused(path, "row 2, id '6', column prompt", "not UTF-8")
    write_csv(path, [one()], encoding="utf-16")
    refused(path, "UTF-16", "save it as UTF-8")
    (tmp_path / "b.jsonl").write_bytes(json.dumps(one()).encode() + b'\n{"id": "caf\xe9"}')
    refused(tmp_path / "b.jsonl", "row 2", "not UTF-8")


def test_json_lines_that_are_malformed_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    good = json.dumps(one())
    path.write_text(f"{good}\n{{oops\n")
    refused(path, "row 2: not JSON")
    path.write_text(f"{good}\n[1]\n")
    refused(path, r"row 2: \[1\] is not an object")


@pytest.mark.parametrize("packed_as", ["", ".gz", ".zip"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_utf16_and_utf32_are_refused(kind: str, encoding: str, packed_as: str, tmp_path: Path) -> None:
    path = tmp_path / f"b.{kind}"
    (write_csv if kind == "csv" else write_jsonl)(path, [one()])
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    refused(packed(path, packed_as) if packed_as else path, "UTF-16 or UTF-32", "UTF-8")


def test_a_key_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    line = json.dumps(one(id="6"))
    path.write_text(f"{json.dumps(one())}\n{line[:-1]}, {json.dumps('winner_tie')}: 1}}\n")
    refused(path, "row 2, column 'winner_tie': the key occurs twice", "keep one")


def test_integers_that_became_floats_are_refused_as_ids(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    write_csv(path, [one(id="1.0"), one(id="20.0")])
    refused(path, "row 1, id '1.0', column id", "write the ids as integers")
    write_csv(path, [one(id="1.0"), one(id="1.1")])  # numbers of versions, say
    assert read_battles(path, voted=True)["id"].tolist() == ["1.0", "1.1"]
    pd.DataFrame([as_text(one(id=value)) for value in (1.0, 2.0)]).to_parquet(tmp_path / "b.parquet")
    refused(tmp_path / "b.parquet", "row 1, .*column id: 1.0 is a float")


def test_parquet_columns_that_hold_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.parquet"
    rows = [as_text(one(id=str(number))) for number in range(3000)]
    table = pa.Table.from_pylist(rows)

    def replace(name: str, column: pa.Array) -> None:
        pq.write_table(table.set_column(table.schema.get_field_index(name), name, column), path)

    replace("id", pa.array([row["id"].encode() for row in rows]))
    refused(path, "row 1, .*column id: b'0' is bytes")
    replace("prompt", pa.array([row["prompt"].encode() for row in rows]))
    refused(path, "row 1, id '0', column prompt: .*not a list")
    broken = [b'["caf\xe9"]' if number == 2500 else b"[]" for number in range(3000)]
    replace("response_a", pa.array(broken).view(pa.string()))
    refused(path, "row 2501, column response_a: unreadable", "UTF-8")
    replace("winner_tie", pa.array([2**62] * 3000, pa.timestamp("us")))
    refused(path, "row 1, .*column winner_tie")


def test_values_of_any_length_are_cut_and_their_length_is_said(tmp_path: Path) -> None:
    path, long = tmp_path / "b.csv", "x" * 5_000_000
    for changes in ({"id": long, "winner_tie": 1}, {"winner_tie": long}, {"prompt": long}, {"response_a": f'"{long}"'}):
        pd.DataFrame([as_text(one()) | changes]).to_csv(path, index=False)
        refused(path, r"\(5,000,0\d\d characters\)" if changes != {"response_a": f'"{long}"'} else "not a list")
    path.write_text(f"id,{long}\n1,2\n")
    refused(path, "missing, found", r"characters\)")
    path.write_text(f"{','.join(one())},{long},{long}\n")
    refused(path, "occurs twice")
    path.write_bytes(f"{','.join(one())},{long}\n".encode() + b"1,m,n,[],[],[],1,0,0,\xff\n")
    refused(path, "not UTF-8", r"5,000,000 characters")
    (tmp_path / "b.jsonl").write_text(json.dumps(one() | {"id": [long]}) + "\n")
    refused(tmp_path / "b.jsonl", "column id", r"characters\)")


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize("name", ["lmsys_dev_1488.csv", "tulu_human_eval.csv", "vicuna80_human.csv"])
def test_real_battles_are_kept(name: str) -> None:
    table = read_battles(SHARED / name, voted=True)
    raw = pd.read_csv(SHARED / name, dtype=str, keep_default_na=False)
    for column in ("id", *MODELS, *TEXTS):
        assert table[column].tolist() == raw[column].tolist()
    assert (table[list(WINNERS)].astype(str) == raw[list(WINNERS)]).all(axis=None)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_soft_winners_are_probabilities(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"extra.{kind}"
    table = pd.DataFrame([as_text(row) for row in battles()]).drop(columns=list(WINNERS))
    values = [[1, 0, 0], [0.2, 0.3, 0.5], [0.3333, 0.3333, 0.3333]] + [[0.25, 0.5, 0.25]] * (len(table) - 3)
    table[list(WINNERS)] = values
    table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path)
    found = read_battles(path, voted=True, soft=True)[list(WINNERS)].to_numpy()
    assert found.dtype == float
    assert abs(found.sum(axis=1) - 1).max() < 1e-12
    assert abs(found - pd.DataFrame(values).to_numpy()).max() < 1e-3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.5, 0.6, 0.0], "0.5, 0.6, 0 sum to 1.1; probabilities must sum to 1"),
        ([-0.1, 0.6, 0.5], "winner_model_a: -0.1 is not a probability"),
        ([0.5, float("nan"), 0.5], "winner_model_b: (nan|None) is not a probability"),
        ([0.5, 0.5, None], "winner_tie: (nan|None) is not a probability"),
    ],
)
def test_what_is_no_probability_is_refused(tmp_path: Path, values: list[Any], message: str) -> None:
    path = tmp_path / "extra.parquet"
    table = pd.DataFrame([as_text(row) for row in battles()])
    table[list(WINNERS)] = [values] * len(table)
    table.to_parquet(path)
    with pytest.raises(BadInput, match=rf"row 1, id .*{message}"):
        read_battles(path, voted=True, soft=True)
