import json
from pathlib import Path

import pytest

from battles.errors import BadInput
from submission import kaggle
from tests.submission.fake_client import SECRET, install, without_token


def test_without_client_or_token_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_token(monkeypatch, tmp_path)
    missing = kaggle.unready()
    assert missing is not None
    assert "python -m pip install kaggle" in missing
    install(monkeypatch, tmp_path / "with")
    missing = kaggle.unready()
    assert missing is not None
    assert "there is no token for Kaggle" in missing
    assert "KAGGLE_API_TOKEN" in missing
    assert "\n" not in missing


@pytest.mark.parametrize(
    "place",
    [
        {"KAGGLE_API_TOKEN": SECRET},
        {"KAGGLE_USERNAME": "me", "KAGGLE_KEY": SECRET},
        ".kaggle/access_token",
        ".kaggle/access_token.txt",
        ".kaggle/credentials.json",
        {"KAGGLE_API_TOKEN": "elsewhere/kaggle.json"},
        ".kaggle/kaggle.json",
        ".config/kaggle/kaggle.json",
        {"KAGGLE_CONFIG_DIR": "elsewhere"},
    ],
)
def test_a_token_is_found_in_its_usual_places_and_never_said(
    place: str | dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = install(monkeypatch, tmp_path)
    home = tmp_path / "home"
    if isinstance(place, str):
        path = home / place
    else:
        for name, value in place.items():
            monkeypatch.setenv(name, str(home / value) if value.startswith("elsewhere") else value)
        path = home / "elsewhere" / "kaggle.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if (isinstance(place, str) and "access_token" in place) or "KAGGLE_API_TOKEN" in place:
        path.write_text(SECRET + "\n")
    elif isinstance(place, str) or "KAGGLE_CONFIG_DIR" in place:
        path.write_text(json.dumps({"username": "me", "key": SECRET, "refresh_token": SECRET}))
    assert kaggle.unready() is None
    client.answer(out=f"token {SECRET} works")
    assert kaggle.call("lmsys-chatbot-arena", "files") == "token *** works"
    client.answer(err=f"bad token {SECRET}", code=1)
    with pytest.raises(BadInput) as refused:
        kaggle.call("lmsys-chatbot-arena", "files")
    assert SECRET not in str(refused.value)
    assert "bad token ***" in str(refused.value)


def test_a_half_of_a_key_is_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_token(monkeypatch, tmp_path)
    monkeypatch.setenv("KAGGLE_KEY", SECRET)
    (tmp_path / ".kaggle").mkdir()
    for text in ("{", "[1]", '{"username": "me"}'):
        (tmp_path / ".kaggle" / "kaggle.json").write_text(text)
        assert not kaggle.has_token()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("403 - Forbidden", "accept its rules on https://www.kaggle.com/competitions/some-name/rules"),
        ("401 - Unauthorized", "Kaggle does not know the token"),
        ("first\nlast line\n", "exit code 3: last line"),
        ("", "exit code 3: it says nothing"),
    ],
)
def test_what_the_client_refuses_is_one_line(
    said: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = install(monkeypatch, tmp_path)
    client.answer(err=said, code=3)
    with pytest.raises(BadInput) as refused:
        kaggle.call("some-name", "submit", "-c", "some-name")
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)
    assert client.calls == [["competitions", "submit", "-c", "some-name"]]


def test_a_name_that_is_no_competitions_is_refused() -> None:
    kaggle.check_slug("wsdm-cup-multilingual-chatbot-arena")
    for name in ("", "-x", "a b", "../up", "A"):
        with pytest.raises(BadInput, match="COMPETITION: "):
            kaggle.check_slug(name)
