"""`make plan` on a small embedded sample, with one base that cannot be had."""

import re
from pathlib import Path

import pytest

from battles.errors import BadInput
from battles.sample import generate
from battles.settings import Sample
from stages import params, plan, prepare, sample

YAML = """
run: {source: sample, bases: [small, student, gated, tfidf]}
sample: {train: 80, test: 20}
prepare: {folds: 3}
tiny: {vocabulary: 400, backbones: {one: {architecture: llama}}}
tfidf: {kind: tfidf}
small: {kind: transformer, backbone: "models/runs/{run}/tiny/one", max_length: 128, lora: {rank: 4}, frozen_layers: 1}
student:
  {kind: transformer, backbone: "models/runs/{run}/tiny/one", max_length: 128, batching: packed,
   extra_train: more.csv, test_from: refit, teacher: {base: small, clean: true}}
gated: {kind: transformer, backbone: owner/gated}
profiles: {own: {}}
"""


def test_every_base_has_its_figures_or_the_reason_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(YAML)
    monkeypatch.setattr("sys.argv", ["params", "--run", "r", "--profile", "own"])
    drawn = generate(Sample(train=50, test=10, seed=1)).train
    drawn.to_csv("more.csv", index=False)
    params.main()
    monkeypatch.setattr("sys.argv", ["step", "--run", "r"])
    sample.main()
    monkeypatch.setattr("sys.argv", ["step", "--run", "r", "--test"])
    prepare.main()
    monkeypatch.setattr("sys.argv", ["step", "--run", "r"])
    prepare.main()
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["step", "--run", "r", "--nproc", "2"])
    plan.main()
    said = capsys.readouterr().out
    assert "run r: 80 battles, 20 to predict, 3 folds, on cpu" in said
    assert "NPROC=2: times are of one process" in said
    # Columns are two blanks apart, and a name or a figure has none of two in it.
    rows = (re.split(r"  +", line) for line in said.splitlines())
    lines = {row[0]: row[1:] for row in rows}
    assert lines["trained"] == ["LoRA, rank 4, 1 frozen layer", "all weights"]
    assert lines["weights / computing"] == ["none / float32"] * 2
    assert lines["models"] == ["3 x fold, 3 x pair of folds", "3 x fold, 1 x refit"]
    assert lines["micro-batch, tokens"] == ["16 x 128", "pack of 2048"]
    assert lines["memory, in all"][0].endswith("MB")
    assert "small: tokens counted on 80 battles" in said
    assert "gated: cannot be planned: backbone: 'owner/gated' cannot be loaded" in said
    assert "tfidf: no backbone; 80 battles on the CPU" in said
    assert not Path("models").exists()
    monkeypatch.setenv("ARENA_CARD", "2xt4")
    monkeypatch.setenv("ARENA_HOURS", "1e-9")
    monkeypatch.setattr("sys.argv", ["step", "--run", "r"])
    plan.main()
    said = capsys.readouterr().out
    assert "on Tesla T4 (compute capability 7.5) with 16.1 GB, by its data sheet; NPROC=2: times are divided" in said
    assert "none / float16" in said
    assert "of the rate on the card's data sheet" in said
    assert "expected log loss by minute: not known before the run has a stack (make stack RUN=r)" in said
    assert re.search(r"HOURS=1e-09: \S+ \S+ in all, too long; within it with .*such cards, NPROC=", said)


@pytest.mark.parametrize(("name", "message"), [("CARD", "CARD: 'p100' is not known"), ("HOURS", "HOURS: 'p100'; give")])
def test_an_unknown_card_is_refused_before_anything_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(YAML)
    monkeypatch.setattr("sys.argv", ["params", "--run", "r", "--profile", "own"])
    monkeypatch.setenv(f"ARENA_{name}", "p100")
    with pytest.raises(BadInput, match=message):
        params.main()
    assert not Path("battles").exists()
