"""Reading a run for its report: what is missing, damaged or of other battles is refused with what mends it."""

import json
from pathlib import Path

import pandas as pd
import pytest

from battles.errors import BadInput
from battles.files import read_json, read_table, write_json, write_table
from battles.paths import RunPaths
from report.inputs import read, read_scores
from tests.report.synthetic import BASES, RUN, battles, write_run


def test_what_is_missing_or_of_other_battles_is_refused(tmp_path: Path) -> None:
    voted, lengths, logits = battles(40)
    write_run(tmp_path, voted, lengths, logits)
    with pytest.raises(BadInput, match=r"other\.parquet: no such file"):
        read(RunPaths(RUN, tmp_path), [*BASES, "other"])
    features = tmp_path / "features" / RUN / "train.parquet"
    whole = read_table(features)
    write_table(features, whole.iloc[::-1])
    with pytest.raises(BadInput, match=r"features/try/train\.parquet: its ids are in another order than the run's"):
        read(RunPaths(RUN, tmp_path), BASES)
    write_table(features, whole)
    pd.DataFrame({"step": [1]}).to_csv(tmp_path / "models" / "runs" / RUN / "roberta" / "fold-0" / "curve.csv")
    with pytest.raises(BadInput, match=r"curve\.csv: column loss is missing"):
        read(RunPaths(RUN, tmp_path), BASES)
    (tmp_path / "oof" / RUN / "metrics.json").unlink()
    (tmp_path / "models" / "runs" / RUN / "roberta" / "fold-0" / "curve.csv").unlink()
    with pytest.raises(BadInput, match=r"metrics\.json: no such file"):
        read(RunPaths(RUN, tmp_path), BASES)


@pytest.mark.parametrize(
    "content", [b"", b'{"bases": {"robe', b"\xff\xfe{}", b"[" * 100_000, b"[]", b"{}", b'{"bases": {}, "shipped": "x"}']
)
def test_a_damaged_metrics_file_is_refused_with_what_makes_it_again(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metrics.json").write_bytes(content)
    with pytest.raises(
        BadInput, match=r"metrics\.json: damaged \(.*\); delete it and run `make stack` again$"
    ) as refusal:
        read_scores(tmp_path / "metrics.json", BASES)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({}, "bases: Field required"),
        (
            {"bases": {"roberta": 1}, "candidates": {}, "leave_one_out": {}, "shipped": "x"},
            "bases.roberta: Input should be",
        ),
        ({"bases": {}, "candidates": {}, "leave_one_out": {}, "shipped": "x"}, "no figures of roberta"),
    ],
)
def test_figures_of_another_form_are_refused_by_name(tmp_path: Path, scores: dict[str, object], expected: str) -> None:
    write_json(tmp_path / "metrics.json", scores, sealed=True)
    with pytest.raises(BadInput, match=rf"metrics\.json: {expected}.*; delete it and run `make stack` again$"):
        read_scores(tmp_path / "metrics.json", BASES)


def test_a_metrics_file_that_lacks_a_figure_or_holds_none_that_is_finite_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path, *battles(40), curves=())
    path = tmp_path / "oof" / RUN / "metrics.json"
    whole = read_json(path, sealed=True)
    assert read_scores(path, BASES) == whole
    for change, expected in (
        (lambda scores: scores["candidates"].pop("prior"), "no figures of prior"),
        (lambda scores: scores["candidates"].pop("stack"), "no figures of stack"),
        (lambda scores: scores["bases"].pop("tfidf"), "no figures of tfidf"),
        (lambda scores: scores["bases"]["tfidf"].pop("ece"), "bases.tfidf.ece: Field required"),
        (
            lambda scores: scores["bases"]["tfidf"].update(log_loss="nan"),
            "bases.tfidf.log_loss: Input should be",
        ),
        (lambda scores: scores.update(shipped=None), "shipped: Input should be a valid string"),
    ):
        scores = json.loads(json.dumps(whole))
        change(scores)
        write_json(path, scores, sealed=True)
        with pytest.raises(BadInput, match=expected):
            read_scores(path, BASES)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b'step,loss,valid_log_loss\n1,"0.5', "cannot be read"),
        (b"step,loss,valid_log_loss\n", "it has no rows"),
        (b"step,loss,valid_log_loss\n1,0.5,\n2,zz,\n", "column loss holds what is no number"),
        (b"step,loss,valid_log_loss\n1,0.5,\n2,inf,\n", "column loss holds what is no number"),
        (b"step,loss,valid_log_loss\n1,0.5,\n2,,\n", "column loss holds what is no number"),
        (b"step,loss,valid_log_loss\n1,0.5,\n2", "column loss holds what is no number"),
        (b"step,loss,valid_log_loss\n1,0.5,x\n", "column valid_log_loss holds what is no number"),
    ],
)
def test_a_broken_curve_is_refused_with_what_makes_it_again(tmp_path: Path, content: bytes, expected: str) -> None:
    write_run(tmp_path, *battles(40))
    (tmp_path / "models" / "runs" / RUN / "roberta" / "fold-2" / "curve.csv").write_bytes(content)
    with pytest.raises(
        BadInput, match=rf"curve\.csv: {expected}.*; delete \S+/fold-2 and run `make oof-roberta` again$"
    ):
        read(RunPaths(RUN, tmp_path), BASES)
