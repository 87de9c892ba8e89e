import hashlib
from pathlib import Path

import pytest

from battles.errors import BadInput
from battles.files import write_json
from submission.manifest import check_submission, manifest


def test_the_manifest_hashes_every_file(tmp_path: Path) -> None:
    for name in ("submission.csv", "b.parquet", "a.parquet"):
        (tmp_path / name).write_text(name)
    about = {"code_version": "abc"}
    files = [tmp_path / "b.parquet", tmp_path / "a.parquet"]
    written = manifest(tmp_path / "submission.csv", 2, files, {"stack": {"hash": "1"}}, about)
    assert written["submission"]["sha256"] == hashlib.sha256(b"submission.csv").hexdigest()
    assert list(written["artefacts"].values()) == [hashlib.sha256(n).hexdigest() for n in (b"a.parquet", b"b.parquet")]
    assert written["code_version"] == "abc"
    assert written["params"] == {"stack": {"hash": "1"}}


def test_a_submission_is_the_file_that_the_manifest_describes(tmp_path: Path) -> None:
    submission, described = tmp_path / "submission.csv", tmp_path / "manifest.json"
    whole = b"id,winner_model_a,winner_model_b,winner_tie\n1,0.2,0.3,0.5\n"
    submission.write_bytes(whole)
    write_json(described, manifest(submission, 1, [], {}, {}))
    check_submission(submission, described)
    for changed in (b"", whole[:-5], whole + b"\n", whole.replace(b"0.2", b"0.3"), bytes([whole[0] ^ 1]) + whole[1:]):
        submission.write_bytes(changed)
        with pytest.raises(
            BadInput, match=r"submission\.csv: its SHA-256 is .*; delete \S+submission\.csv and run `make"
        ):
            check_submission(submission, described)
    submission.unlink()
    with pytest.raises(BadInput, match=r"submission\.csv: no such file; delete"):
        check_submission(submission, described)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"submission": 1}', b"\xff\xfe", b"[" * 100_000])
def test_a_broken_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "submission.csv").write_text("id")
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(BadInput, match=r"manifest\.json: not a manifest .* run `make submission` again"):
        check_submission(tmp_path / "submission.csv", tmp_path / "manifest.json")
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(BadInput, match=r"manifest\.json: no such file"):
        check_submission(tmp_path / "submission.csv", tmp_path / "manifest.json")
