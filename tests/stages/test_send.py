"""`make submit`: only what the run wrote and the competition takes is handed to Kaggle's client."""

import shlex
import shutil
from pathlib import Path

import pytest

from battles.files import file_hash, read_json, write_json
from stages import send
from submission.kaggle import COMPETITION
from tests.robustness.stages_in_process import STEPS, Outcome, call, check_refusal, finished_run
from tests.submission.conftest import SETTINGS
from tests.submission.fake_client import SECRET, Client, install, without_token

PATH = "submission/r/submission.csv"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("send")
    finished_run(folder, SETTINGS, seed=1, steps=[name for name in STEPS if name != "report"])
    return folder


@pytest.fixture
def here(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working folder."""
    shutil.copytree(finished, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    without_token(monkeypatch, tmp_path / "home")
    return tmp_path


def _submit(**variables: str) -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RUN": "r", "MESSAGE": "first try", **variables}.items():
            patch.setenv(f"ARENA_{name}", value)
        return call(send.main)


def _ready(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Client:
    client = install(monkeypatch, folder)
    monkeypatch.setenv("KAGGLE_API_TOKEN", SECRET)
    client.answer(out=f"using {SECRET}\nSuccessfully submitted")
    return client


def test_a_checked_file_is_handed_to_the_client(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = _ready(monkeypatch, here)
    message = 'it\'s $HOME `here` "and" there; rm -rf *'
    outcome = _submit(MESSAGE=message)
    assert outcome.code == 0, outcome
    assert client.calls == [["competitions", "submit", "-c", COMPETITION, "-f", PATH, "-m", message]]
    assert f"submit: {PATH} is what the run made: 20 rows" in outcome.out
    assert f"note: {COMPETITION} takes notebooks only" in outcome.out
    assert outcome.out.splitlines()[-1] == f"submit: handed to {COMPETITION}: Successfully submitted"
    assert SECRET not in outcome.out + outcome.err


def test_a_notebook_is_named_with_its_version(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = _ready(monkeypatch, here)
    outcome = _submit(KERNEL="me/my-notebook/3", COMPETITION="llm-classification-finetuning")
    assert outcome.code == 0, outcome
    assert "note:" not in outcome.out
    expected = ["submit", "-c", "llm-classification-finetuning", "-f", "submission.csv", "-m", "first try"]
    assert client.calls == [["competitions", *expected, "-k", "me/my-notebook", "-v", "3"]]


@pytest.mark.parametrize("with_client", [False, True])
def test_without_client_or_token_the_command_is_printed(
    with_client: bool, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = install(monkeypatch, here) if with_client else None
    outcome = _submit(MESSAGE="it's 1")
    said = check_refusal(outcome, "submit: nothing was handed in")
    assert ("no token for Kaggle" if with_client else "pip install kaggle") in said
    typed = shlex.split(outcome.out.splitlines()[-1])
    assert typed == ["kaggle", "competitions", "submit", "-c", COMPETITION, "-f", PATH, "-m", "it's 1"]
    assert client is None or not client.calls


def test_another_file_is_not_handed_in(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = _ready(monkeypatch, here)
    path, manifest = Path(PATH), Path("submission/r/manifest.json")
    good = path.read_text()
    path.write_text(good.replace("0.", "0.0", 1))
    check_refusal(_submit(), "the file was changed after it was made")
    # A file that was changed together with its manifest is still no submission of these battles.
    lines = good.splitlines(keepends=True)
    for text, expected in (
        ("".join([lines[0], lines[2], lines[1], *lines[3:]]), "row 1 has id"),
        ("".join(lines[:-1]), "19 rows for 20 test battles"),
        (good.replace(lines[1].split(",")[1], "0.999999999", 1), "sum to 1"),
    ):
        path.write_text(text)
        about = read_json(manifest, sealed=True)
        write_json(manifest, about | {"submission": about["submission"] | {"sha256": file_hash(path)}}, sealed=True)
        assert expected in check_refusal(_submit(), "submission: ")
    path.unlink()
    check_refusal(_submit(), "make submission RUN=r writes it")
    assert not client.calls


def test_another_runs_file_is_not_handed_in(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = _ready(monkeypatch, here)
    for room in ("submission", "battles"):
        shutil.copytree(f"{room}/r", f"{room}/s")
    check_refusal(_submit(RUN="s"), "it is of submission/r/submission.csv")
    assert not client.calls


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"MESSAGE": ""}, "MESSAGE: 0 characters; describe the submission in one line"),
        ({"MESSAGE": "two\nlines"}, "MESSAGE: 9 characters"),
        ({"MESSAGE": "x" * 501}, "MESSAGE: 501 characters"),
        ({"KERNEL": "notebook"}, "KERNEL: 'notebook'; give a notebook and its version"),
        ({"KERNEL": "-x/../y"}, "KERNEL: '-x/../y'"),
        ({"COMPETITION": "a b"}, "COMPETITION: 'a b'"),
        ({"RUN": ".."}, "RUN: '..' must be letters"),
        ({"RUN": "none"}, "submission/none/submission.csv: no such file"),
    ],
)
def test_what_cannot_be_is_refused(variables: dict[str, str], expected: str, here: Path) -> None:
    check_refusal(_submit(**variables), expected)


def test_a_refusal_of_kaggle_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = _ready(monkeypatch, here)
    client.answer(err="403 Client Error: Forbidden", code=1)
    check_refusal(_submit(), f"accept its rules on https://www.kaggle.com/competitions/{COMPETITION}/rules")
