"""Tokens and passwords in the environment or in STORAGE reach no file of a run and no message."""

from pathlib import Path

import pytest

from battles.errors import BadInput
from battles.sample import generate
from battles.settings import Sample
from models.stacking.studies import open_storage
from stages import stack
from tests.robustness.stages_in_process import STEPS, Outcome, call, resolve, snapshot

SECRET = "pl4nted-s3cret"
SETTINGS = "prepare.folds=3 stack.trials=1 stack.rounds=2 stack.bag=1 stack.trees=10 stack.workers=1 tfidf.bits=10"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@localhost:1/db",
        f"postgresql://user:{SECRET}",  # a forgotten host: what stands for the port is the password
        f"postgresql://user:{SECRET}@localhost:port/db",
        f"postgresql://user:{SECRET}@[::1/db",
        f"sqlite://user:{SECRET}@/study.db",
        f"mysql://user:{SECRET}@localhost/db",
        f"nope://user:{SECRET}@localhost/db",
        f"user:{SECRET}@localhost",
        f"\nuser:{SECRET}",
    ],
)
def test_a_storage_that_cannot_be_opened_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(BadInput) as refused:
        open_storage(url)
    said = str(refused.value)
    assert said.startswith("STORAGE: cannot be opened (")
    assert SECRET not in said
    assert "\n" not in said
    assert len(said) <= 600


def test_a_run_keeps_no_secret_of_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "PGPASSWORD", "WANDB_API_KEY", "STORAGE"):
        monkeypatch.setenv(name, SECRET)
    data = generate(Sample(train=60, test=12, seed=3))
    data.train.to_csv("train.csv", index=False)
    data.test.to_csv("test.csv", index=False)
    outcomes = [resolve("--profile", "cpu", "--train", "train.csv", "--test", "test.csv", "--overrides", SETTINGS)]
    steps = [*STEPS]
    before = steps[: steps.index("stack")]
    outcomes += [call(STEPS[name][0], *STEPS[name][1]) for name in before]
    for url in (f"postgresql://user:{SECRET}@localhost:1/db", f"sqlite:///{SECRET}.db"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ARENA_STORAGE", url)
            patch.setenv("ARENA_WORKERS", "2")
            outcomes.append(call(stack.main))
    assert [outcome.code for outcome in outcomes] == [0] * (1 + len(before)) + [2, 2]
    outcomes += [call(STEPS[name][0], *STEPS[name][1]) for name in steps[steps.index("stack") :]]
    _assert_silent(outcomes)
    assert len(snapshot(tmp_path)) > 30


def _assert_silent(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        assert SECRET not in outcome.out + outcome.err, outcome
    for name, raw in snapshot(Path()).items():
        assert SECRET.encode() not in raw, name
        assert SECRET not in name
