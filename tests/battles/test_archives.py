"""Archives: exactly one file inside, nothing that leads out of them, and no more bytes than the limits allow."""

import bz2
import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest

from battles import archives
from battles.archives import opened
from battles.errors import BadInput
from battles.reading import read_battles

BATTLES = (
    "id,model_a,model_b,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n"
    + "".join(f'{number},m,n,"[""{number * 7919 % 10007}""]","[]","[]",1,0,0\n' for number in range(500))
).encode()


def refused(path: Path, *parts: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_battles(path, voted=True)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert len(line.splitlines()) == 1
    assert len(line) < len(str(path)) + 500
    for part in parts:
        assert part in line


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_of_one_file_in_a_folder_is_read(method: int, tmp_path: Path) -> None:
    members = {"folder/": b"", "folder/b.csv": BATTLES, "__MACOSX/folder/._b.csv": b"shadow"}
    assert len(read_battles(zipped(tmp_path / "b.zip", members, method), voted=True)) == 500


def test_a_zip_of_no_or_several_files_is_refused(tmp_path: Path) -> None:
    refused(zipped(tmp_path / "two.zip", {"a.csv": BATTLES, "b.csv": BATTLES}), "2 files inside", "exactly one")
    refused(zipped(tmp_path / "none.zip", {"folder/": b""}), "0 files inside")
    refused(zipped(tmp_path / "many.zip", {"x" * 900 + f"{n}.csv": b"" for n in range(2000)}), "2000 files", "...")


@pytest.mark.parametrize("name", ["../b.csv", "/etc/b.csv", "a/../../b.csv", "C:\\b.csv", "..\\b.csv"])
def test_a_path_that_leads_out_of_the_archive_is_refused(name: str, tmp_path: Path) -> None:
    refused(zipped(tmp_path / "b.zip", {name: BATTLES}), "leads out of the archive")
    assert [path.name for path in tmp_path.iterdir()] == ["b.zip"]


@pytest.mark.parametrize("kind", [".gz", ".zip"])
def test_a_bomb_is_refused_before_it_is_unpacked(kind: str, tmp_path: Path) -> None:
    """100 MB of one line in some 100 kB: a thousandfold."""
    path, block = tmp_path / f"b.csv{kind}", b"x" * 1_000_000
    if kind == ".gz":
        with gzip.open(path, "wb", compresslevel=6) as file:
            file.writelines([BATTLES[:100], *[block] * 100])
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("b.csv", "w") as member:
            member.writelines([BATTLES[:100], *[block] * 100])
    assert path.stat().st_size < 2e5
    refused(path, "unpacks to more than", "the limit for an archive of", "unpack it yourself")


def test_the_limit_holds_in_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "b.csv.gz"
    path.write_bytes(gzip.compress(BATTLES))
    monkeypatch.setattr(archives, "MAX_BYTES", len(BATTLES))
    assert len(read_battles(path, voted=True)) == 500
    monkeypatch.setattr(archives, "MAX_BYTES", len(BATTLES) - 1)
    refused(path, f"more than {len(BATTLES) - 1:,} bytes")


def test_text_that_compresses_well_is_within_the_limits(tmp_path: Path) -> None:
    path = tmp_path / "b.txt.gz"
    path.write_bytes(gzip.compress(b"a" * 60_000_000))
    with opened(path) as file:
        assert len(file.read()) == 60_000_000


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "b.zip", {"b.csv": BATTLES}, zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    refused(path, "encrypted")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, "gz"])
def test_damaged_archives_end_in_one_line(method: int | str, tmp_path: Path) -> None:
    """Cut off, and with seeded flipped bits: a refusal or the same battles, never another exception."""
    path = tmp_path / ("b.csv.gz" if method == "gz" else "b.csv.zip")
    if isinstance(method, str):
        path.write_bytes(gzip.compress(BATTLES))
    else:
        zipped(path, {"b.csv": BATTLES}, method)
    whole, good = path.read_bytes(), read_battles(path, voted=True)
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "damaged or cut off")
    rng = np.random.default_rng(3)
    for place in [*range(0, 40, 2), *rng.integers(0, len(whole), 30), *range(len(whole) - 40, len(whole), 2)]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            table = read_battles(path, voted=True)
        except BadInput:
            continue
        assert table.equals(good)


def test_another_compression_under_a_known_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.csv.gz").write_bytes(bz2.compress(BATTLES))
    refused(tmp_path / "b.csv.gz", "damaged or cut off", "again")


def test_what_is_counted_is_the_file_itself(tmp_path: Path) -> None:
    plain = tmp_path / "b.csv"
    plain.write_bytes(BATTLES)
    packed = tmp_path / "b.csv.gz"
    packed.write_bytes(gzip.compress(BATTLES))
    table = tmp_path / "b.parquet"
    read_battles(plain, voted=True).to_parquet(table)
    for path in (plain, packed, table, zipped(tmp_path / "b.zip", {"b.csv": BATTLES})):
        counted: list[int] = []
        read_battles(path, voted=True, count=counted.append)
        # zipfile reads the list at an archive's end before the file, and once more.
        assert path.stat().st_size * 0.99 <= sum(counted) <= path.stat().st_size + 1000, path.name
