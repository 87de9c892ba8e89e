"""`make plan` on a small embedded sample, with one base that cannot be had."""

from pathlib import Path

import pytest

from stages import params, plan, prepare, sample

YAML = """
run: {source: sample, bases: [small, gated, tfidf]}
sample: {train: 80, test: 20}
prepare: {folds: 2}
tiny: {vocabulary: 400, backbones: {one: {architecture: llama}}}
tfidf: {kind: tfidf}
small: {kind: transformer, backbone: "models/{run}/tiny/one", max_length: 128, lora: {rank: 4}, frozen_layers: 1}
gated: {kind: transformer, backbone: owner/gated}
profiles: {own: {}}
"""


def test_every_base_has_its_figures_or_the_reason_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(YAML)
    monkeypatch.setattr("sys.argv", ["params", "--run", "r", "--profile", "own"])
    params.main()
    monkeypatch.setattr("sys.argv", ["step", "--run", "r"])
    sample.main()
    prepare.main()
    capsys.readouterr()
    plan.main()
    said = capsys.readouterr().out
    assert "run r: 80 battles, 20 to predict, 2 folds, on cpu" in said
    lines = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in said.splitlines() if "  " in line}
    assert lines["trained"] == "LoRA, rank 4, 1 layers frozen"
    assert lines["weights / computing"] == "none / float32"
    assert lines["micro-batch, tokens"] == "16 x 128"
    assert lines["memory, in all"].endswith("MB")
    assert "small: tokens counted on 80 battles" in said
    assert "gated: cannot be planned: backbone: 'owner/gated' cannot be loaded" in said
    assert "tfidf: tfidf, no backbone: 80 battles on the CPU" in said
    assert not Path("models").exists()
