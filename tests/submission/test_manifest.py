import hashlib
from pathlib import Path

from submission.manifest import manifest


def test_the_manifest_hashes_every_file(tmp_path: Path) -> None:
    for name in ("submission.csv", "b.parquet", "a.parquet"):
        (tmp_path / name).write_text(name)
    about = {"code_version": "abc"}
    files = [tmp_path / "b.parquet", tmp_path / "a.parquet"]
    found = manifest(tmp_path / "submission.csv", 2, files, {"stack": {"hash": "1"}}, about)
    assert found["submission"]["sha256"] == hashlib.sha256(b"submission.csv").hexdigest()
    assert list(found["artefacts"].values()) == [hashlib.sha256(n).hexdigest() for n in (b"a.parquet", b"b.parquet")]
    assert found["code_version"] == "abc"
    assert found["params"] == {"stack": {"hash": "1"}}
