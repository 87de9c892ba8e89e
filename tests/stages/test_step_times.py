import json
import sys
from pathlib import Path

import pytest

from battles.processes import PARENTS
from stages import step_times


def test_the_steps_of_a_call_are_shown_with_their_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARENTS, str(tmp_path))
    for words in (["params"], ["base", "--name", "llama"], ["features", "--run", "r", "--test"]):
        monkeypatch.setattr(sys, "argv", [f"/x/stages/{words[0]}.py", *words[1:]])
        step_times.note()
    empty, head, *rows = step_times.table(tmp_path)
    assert empty == ""
    assert head.split()[:4] == ["step", "began", "at", "time"]
    assert [row.rsplit(maxsplit=3)[0] for row in rows] == ["params", "base llama", "features test", "all"]


def test_the_last_row_is_the_clock_of_the_whole_call(tmp_path: Path) -> None:
    notes = [
        {"step": "sample", "began": 100.0, "ended": 101.0, "cpu": 0.5},
        {"step": "tiny llama", "began": 101.0, "ended": 105.0, "cpu": 4.0},
        {"step": "tiny roberta", "began": 101.0, "ended": 104.0, "cpu": 3.0},
    ]
    (tmp_path / "times.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in notes))
    rows = [row.split() for row in step_times.table(tmp_path)[2:]]
    assert rows[1] == ["tiny", "llama", "1.0", "4.0", "4.0"]
    assert rows[-1] == ["all", "0.0", "5.0", "7.5"]


def test_a_call_that_made_nothing_shows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert step_times.table(tmp_path) == []
    monkeypatch.setenv(PARENTS, str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["/x/stages/params.py"])
    step_times.note()
    assert step_times.table(tmp_path) == []
    monkeypatch.delenv(PARENTS)
    step_times.note()
