"""Every malformed setting ends in one line and leaves the stamps of the earlier call alone."""

from pathlib import Path

import pytest

from tests.robustness.corpus_settings import BAD_FILES, BAD_WORDS, GOOD_FILES, GOOD_WORDS, YAML
from tests.robustness.stages_in_process import Outcome, check_refusal, resolve, snapshot

CALL = ("--profile", "user", "--train", "train.csv")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(YAML)
    Path("train.csv").write_text("battles")
    assert resolve(*CALL).code == 0


def _set(words: str) -> Outcome:
    return resolve(*CALL, "--overrides", words)


@pytest.mark.parametrize("words", GOOD_WORDS)
def test_good_words_are_taken(words: str) -> None:
    assert _set(words).code == 0, _set(words)


@pytest.mark.parametrize("words", BAD_WORDS)
def test_bad_words_are_refused(words: str) -> None:
    before = snapshot(Path("battles"))
    check_refusal(_set(words), "SET", "params.yaml", "base ", "small.extra_train")
    assert snapshot(Path("battles")) == before


@pytest.mark.parametrize("name", GOOD_FILES)
def test_a_good_file_is_taken(name: str) -> None:
    Path("params.yaml").write_bytes(GOOD_FILES[name].encode())
    assert _set("").code == 0, _set("")


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused(name: str) -> None:
    before = snapshot(Path("battles"))
    Path("params.yaml").write_bytes(BAD_FILES[name].encode())
    check_refusal(_set(""), "params.yaml", "PROFILE")
    assert snapshot(Path("battles")) == before


VARIABLES = [
    *(("--nproc", value) for value in ("", "0", "-1", "two", "1.5", "²", "1e3")),
    *(("--folds", value) for value in (",", "0,", "-1", "5", "0,5", "a", "0;1", "0.0", "²", " ")),
    *(("--profile", value) for value in ("no", "User", "profiles")),
    *(("--run", value) for value in ("", ".", "..", "a/b", "-x", "é", "runs", "a b", "a\nb"[:1] + "$")),
    *(("--bases", value) for value in ("one", ",")),
    *(("--features", value) for value in ("one",)),
]


@pytest.mark.parametrize(("name", "value"), VARIABLES)
def test_bad_variables_are_refused(name: str, value: str) -> None:
    before = snapshot(Path("battles"))
    check_refusal(resolve(*CALL, f"{name}={value}"), name.removeprefix("--").upper())
    assert snapshot(Path("battles")) == before
