"""`make data`: the published files come into data/ and are checked, whatever is missing or wrong on the way."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from battles.download import Published
from battles.sample import generate
from battles.settings import Sample
from stages import data
from submission.kaggle import COMPETITION, COMPETITIONS
from tests.battles.test_download import Server, serving
from tests.robustness.stages_in_process import Outcome, call, check_refusal
from tests.submission.fake_client import SECRET, Client, install, without_token

BATTLES = generate(Sample(train=60, test=10, seed=1))
TRAIN = BATTLES.train.to_csv(index=False).encode()
TEST = BATTLES.test.to_csv(index=False).encode()
PUBLISHED = Published(len(TRAIN), hashlib.sha256(TRAIN).hexdigest(), 60)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(data, "PUBLISHED", {COMPETITION: PUBLISHED, COMPETITIONS[1]: Published(rows=60)})
    without_token(monkeypatch, tmp_path / "home")


def _make(**variables: str) -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(f"ARENA_{name}", value)
        return call(data.main)


def _ready(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Client:
    client = install(monkeypatch, folder)
    monkeypatch.setenv("KAGGLE_API_TOKEN", SECRET)
    (client.files / "test.csv").write_bytes(TEST)
    with zipfile.ZipFile(client.files / "train.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.csv", TRAIN)
    return client


def test_the_copy_is_fetched_checked_and_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(TRAIN, breaks=1, after=100)
    with serving(server) as url:
        monkeypatch.setenv("HF_ENDPOINT", url.removesuffix("/train.csv"))
        outcome = _make()
        assert outcome.code == 0, outcome
        assert "note: Kaggle's client is not installed; python -m pip install kaggle" in outcome.out
        assert "data: from huggingface; licence: Apache-2.0" in outcome.out
        assert (
            f"data/train.csv is there: 60 battles, {len(TRAIN):,} bytes, sha256 {PUBLISHED.sha256[:16]}" in outcome.out
        )
        assert "the copy has no test.csv" in outcome.out
        asked = len(server.asked)
        outcome = _make(FROM="huggingface")
        assert "data/train.csv is there already" in outcome.out
        assert len(server.asked) == asked
    assert Path("data/train.csv").read_bytes() == TRAIN
    assert [path.name for path in Path("data").iterdir()] == ["train.csv"]


def test_another_file_of_that_name_is_left_alone_and_said() -> None:
    Path("data").mkdir()
    Path("data/train.csv").write_bytes(TRAIN[:-1])
    said = check_refusal(_make(FROM="huggingface"), "data/train.csv: ")
    assert said.endswith("move it away, then give the same call again")
    assert Path("data/train.csv").read_bytes() == TRAIN[:-1]


def test_what_the_server_has_is_not_taken_for_the_published_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Server(TRAIN[:-1] + b"x")) as url:
        monkeypatch.setenv("HF_ENDPOINT", url.removesuffix("/train.csv"))
        said = check_refusal(_make(FROM="huggingface"), "what came is another file: ")
    assert "its SHA-256 is" in said
    assert not list(Path("data").iterdir())


@pytest.mark.parametrize("competition", COMPETITIONS)
def test_kaggles_client_brings_both_files(competition: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = _ready(monkeypatch, tmp_path)
    outcome = _make(COMPETITION=competition)
    assert outcome.code == 0, outcome
    assert f"accept on https://www.kaggle.com/competitions/{competition}/rules: no commercial use" in outcome.out
    words = ["competitions", "download", "-c", competition, "-f"]
    assert client.calls == [[*words, name, "-p", "data/.kaggle", "-q"] for name in ("train.csv", "test.csv")]
    assert Path("data/train.csv").read_bytes() == TRAIN
    assert Path("data/test.csv").read_bytes() == TEST
    assert "data/test.csv is there: 10 battles" in outcome.out
    assert SECRET not in outcome.out + outcome.err
    assert _make(COMPETITION=competition).out.count("is there already") == 2
    assert len(client.calls) == 2


def test_what_kaggle_sends_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = _ready(monkeypatch, tmp_path)
    good = (client.files / "train.csv.zip").read_bytes()
    (client.files / "train.csv.zip").write_bytes(b"no archive")
    check_refusal(_make(), "data/.kaggle/train.csv.zip: damaged")
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0xFF
    (client.files / "train.csv.zip").write_bytes(flipped)
    check_refusal(_make(), "data/.kaggle/train.csv.zip: damaged")
    assert not Path("data/.kaggle/train.csv.zip").exists()
    (client.files / "train.csv.zip").unlink()
    check_refusal(_make(), "kaggle: it has fetched no train.csv")
    (client.files / "train.csv").write_bytes(TRAIN[:-5])
    check_refusal(_make(), "kaggle: train.csv: what came is another file")
    assert not Path("data/train.csv").exists()
    # The successor's bytes are not known, so its battles are counted.
    lines = BATTLES.train.head(59).to_csv(index=False)
    (client.files / "train.csv").write_text(lines)
    check_refusal(_make(COMPETITION=COMPETITIONS[1]), "data/train.csv: 59 battles, the published file has 60")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"FROM": "kaggle"}, "FROM: kaggle: Kaggle's client is not installed; python -m pip install kaggle"),
        ({"COMPETITION": COMPETITIONS[1]}, "FROM: kaggle: Kaggle's client is not installed"),
        ({"COMPETITION": COMPETITIONS[1], "FROM": "huggingface"}, "has the battles of lmsys-chatbot-arena only"),
        ({"COMPETITION": "titanic"}, "COMPETITION: 'titanic'; make data knows lmsys-chatbot-arena, llm-class"),
        ({"FROM": "nowhere"}, "FROM: 'nowhere'; give kaggle or huggingface"),
    ],
)
def test_what_cannot_be_is_refused(variables: dict[str, str], expected: str) -> None:
    assert expected in check_refusal(_make(**variables), "FROM", "COMPETITION")
    assert not Path("data").exists()


def test_a_missing_token_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path)
    said = check_refusal(_make(FROM="kaggle"), "FROM: kaggle: there is no token for Kaggle")
    assert "https://www.kaggle.com/settings/api" in said
