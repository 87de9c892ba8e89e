"""Kaggle's own client, as a program beside the project: where it is, whether it has a token, and what it answers.

The client is optional and not pinned: it talks to a service whose interface changes, and nothing else needs it. The
project never hands a token on; it reads the known ones only to keep them out of what the client says.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from battles.errors import BadInput

# The first competition, and its successor of the same columns that is always open. Both take notebooks only.
COMPETITION = "lmsys-chatbot-arena"
COMPETITIONS = (COMPETITION, "llm-classification-finetuning")
# Battles of the hidden test file, by the first competition's page on its data; the file to download has three.
HIDDEN_ROWS = 25_000
INSTALL = "python -m pip install kaggle"
TOKEN = (
    "create one on https://www.kaggle.com/settings/api, then export KAGGLE_API_TOKEN=… or write it to "
    "~/.kaggle/access_token (an older kaggle.json in ~/.kaggle does too)"
)


def check_slug(competition: str) -> None:
    """Raises BadInput for what cannot be the name of a competition in its address."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", competition):
        raise BadInput(f"COMPETITION: {competition!r}; give the name in its address, for example {COMPETITION}")


def client() -> str | None:
    """The client's program, in this Python's folder or in PATH; None where there is none."""
    beside = Path(sys.executable).with_name("kaggle")
    return str(beside) if beside.is_file() else shutil.which("kaggle")


def has_token(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a token lies in one of the places where the client looks."""
    return bool(_secrets(environment))


def _secrets(environment: Mapping[str, str]) -> set[str]:
    """The tokens themselves, from all places where version 2.2 of the client looks for one."""
    stated = environment.get("KAGGLE_API_TOKEN", "")  # a token, or the path of a file with one
    found = {stated, _text(Path(stated)).strip() if stated else ""}
    if environment.get("KAGGLE_USERNAME"):
        found.add(environment.get("KAGGLE_KEY", ""))
    home = Path(environment.get("HOME", "~")).expanduser()
    own = home / ".kaggle"
    found |= {_text(own / name).strip() for name in ("access_token", "access_token.txt")}
    found |= _members(_text(own / "credentials.json"), "access_token", "refresh_token")  # of `kaggle auth login`
    settings = Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "kaggle"
    folders = [own, settings, Path(environment.get("KAGGLE_CONFIG_DIR") or own)]
    for place in folders:
        found |= _members(_text(place / "kaggle.json"), "key")
    return found - {""}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):  # what cannot be read here the client cannot use either
        return ""


def _members(text: str, *names: str) -> set[str]:
    """Members of a JSON object; none of what is no object."""
    try:
        value = json.loads(text)
    except ValueError:
        return set()
    return {str(value[name]) for name in names if value.get(name)} if isinstance(value, dict) else set()


def unready(environment: Mapping[str, str] = os.environ) -> str | None:
    """What the client still needs, in one line; None where it is ready."""
    if client() is None:
        return f"Kaggle's client is not installed; {INSTALL}"
    return None if has_token(environment) else f"there is no token for Kaggle; {TOKEN}"


def call(competition: str, *words: str) -> str:
    """Runs `kaggle competitions …` and returns what it says; raises BadInput, without any token, when it fails."""
    program = client()
    assert program is not None  # `unready` was asked
    command = [program, "competitions", *words]
    # Its questions, such as for a log-in, get no answer.
    quiet = subprocess.DEVNULL
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=quiet, check=False)
    said = done.stdout + done.stderr
    for secret in _secrets(os.environ):
        said = said.replace(secret, "***")
    if done.returncode == 0:
        return said.strip()
    if "403" in said:
        raise BadInput(
            f"COMPETITION: Kaggle refuses {competition} (403): accept its rules on "
            f"https://www.kaggle.com/competitions/{competition}/rules, then give the same call again"
        )
    if "401" in said:
        raise BadInput(f"Kaggle does not know the token (401); {TOKEN}")
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "it says nothing").strip()
    raise BadInput(f"kaggle {' '.join(words)}: exit code {done.returncode}: {last[:300]}; the same call tries again")
