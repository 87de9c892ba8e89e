"""The whole report on synthetic runs: what it holds, what it must never hold, and what it does without."""

import base64
import json
import re
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from battles.errors import BadInput
from battles.files import read_json, read_table, write_json, write_table
from battles.paths import RunPaths
from battles.schema import labels
from oof import table
from oof.metrics import log_loss
from report.build import MOST_PANELS, build
from report.inputs import read, read_scores
from stages import report
from tests.report.synthetic import BASES, NAMES, RUN, battles, write_run


class Page(HTMLParser):
    """The text, the tags and the images' sources of a page."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.images: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.images += [value for name, value in attributes if tag == "img" and name == "src" and value]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a whole run, made by the stage."""
    root = tmp_path_factory.mktemp("whole")
    write_run(root, *battles(300))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(sys, "argv", ["report", "--run", RUN])
        report.main()
    return root / "report" / RUN


def test_the_page_stands_alone_with_every_section_and_figure(written: Path) -> None:
    page = Page((written / "index.html").read_text(encoding="utf-8"))
    titles = {"Scores", "Calibration", "Training curves", "Position bias", "Verbosity", "Models"}
    assert titles <= set(page.words)
    files = {path.stem: path.read_bytes() for path in (written / "figures").glob("*.svg")}
    assert {"losses", "reliability", "curves", "position", "verbosity", "confusion"} <= set(files)
    assert {"appearances", "pairings", "win_rates"} <= set(files)
    embedded = {base64.b64decode(source.removeprefix("data:image/svg+xml;base64,")) for source in page.images}
    assert embedded == set(files.values())
    for content in files.values():
        ET.fromstring(content)
    assert not {"script", "link", "iframe"} & set(page.tags)


def test_names_are_escaped_on_the_page_and_are_no_formulas_in_figures(written: Path) -> None:
    markup = (written / "index.html").read_text(encoding="utf-8")
    page = Page(markup)
    assert "b" not in page.tags  # of the model <b>bold</b>
    assert "i" not in page.tags  # of the ids
    assert "<b>bold</b> & co" in page.words
    assert any(re.fullmatch(r"\d+<i>", word) for word in page.words)
    assert "cost-$5-$10" in page.words
    figure = ET.parse(written / "figures" / "appearances.svg")
    drawn = {"".join(element.itertext()).strip() for element in figure.iter() if element.tag.endswith("}text")}
    assert {"cost-$5-$10", "<b>bold</b> & co", "模型-α"} <= drawn
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", markup)


def test_no_text_of_a_battle_is_in_any_file(written: Path) -> None:
    assert all(b"SECRET" not in path.read_bytes() for path in written.rglob("*") if path.is_file())


def test_metrics_equal_the_tables(written: Path) -> None:
    root = written.parents[1]
    metrics = json.loads((written / "metrics.json").read_text())
    train, folds = (read_table(root / "battles" / RUN / f"{name}.parquet") for name in ("train", "folds"))
    for name in (*BASES, "stack"):
        figures = metrics["models"][name]
        values = table.read(root / "oof" / RUN / f"{name}.parquet", folds).probabilities
        assert figures["log_loss"] == pytest.approx(log_loss(values, labels(train)))
        assert figures["rows"] == figures["covered"] == 300
        assert set(figures["classes"]["winner_tie"]) == {"precision", "recall", "f1", "votes", "predicted"}
        assert np.sum(figures["confusion"]) == 300
    assert metrics["position"]["models"]["roberta"]["first_place"] > 0.02
    assert metrics["position"]["models"]["tfidf"]["first_place"] is None
    assert metrics["stacker"]["shipped"] == "booster"


def test_the_same_tables_give_the_same_report(written: Path, tmp_path: Path) -> None:
    build(read(RunPaths(RUN, written.parents[1]), BASES), tmp_path)
    for path in written.rglob("*.*"):
        assert (tmp_path / path.relative_to(written)).read_bytes() == path.read_bytes()


def test_partial_folds_are_scored_on_what_all_cover(tmp_path: Path) -> None:
    voted, lengths, logits = battles(200)
    write_run(tmp_path, voted, lengths, logits, covered=(0, 3))
    findings = build(read(RunPaths(RUN, tmp_path), BASES), tmp_path / "out")
    assert (findings.battles, findings.scored) == (200, 80)
    assert findings.models["roberta"]["covered"] == 200
    assert findings.models["roberta"]["rows"] == findings.models["tfidf"]["rows"] == 80
    folds = read_table(tmp_path / "battles" / RUN / "folds.parquet")
    rows = folds["fold"].isin([0, 3]).to_numpy()
    values = table.read(tmp_path / "oof" / RUN / "roberta.parquet", folds).probabilities[rows]
    assert findings.models["roberta"]["log_loss"] == pytest.approx(log_loss(values, labels(voted)[rows]))
    assert findings.mistakes["fold"].isin([0, 3]).all()
    assert "Only 80 of 200 battles are scored" in (tmp_path / "out" / "index.html").read_text()


def test_without_curves_names_or_lengths_the_rest_is_reported(tmp_path: Path) -> None:
    voted, lengths, logits = battles(60)
    out = tmp_path / "out"
    write_run(tmp_path, voted, lengths, logits)
    build(read(RunPaths(RUN, tmp_path), BASES), out)
    bare = tmp_path / "bare"
    write_run(bare, voted.drop(columns=["model_a", "model_b"]), np.ones_like(lengths), logits, ("tfidf",), curves=())
    build(read(RunPaths(RUN, bare), ["tfidf"]), out)
    # Figures of the earlier report that this one lacks are gone.
    assert {path.stem for path in (out / "figures").iterdir()} == {"losses", "reliability", "position", "confusion"}
    markup = (out / "index.html").read_text()
    assert "Training curves" not in markup
    assert "No battle of this run names both of its models" in markup
    assert "lengths of responses are not known" in markup


def test_battles_without_texts_are_reported(tmp_path: Path) -> None:
    voted, lengths, logits = battles(60)
    write_run(tmp_path, voted, lengths, logits)
    path = tmp_path / "features" / RUN / "train.parquet"
    write_table(path, read_table(path, columns=["id"]))
    inputs = read(RunPaths(RUN, tmp_path), BASES)
    assert np.isnan(inputs.lengths).all()
    build(inputs, tmp_path / "out")
    assert "lengths of responses are not known" in (tmp_path / "out" / "index.html").read_text()


def test_one_name_that_only_meets_itself(tmp_path: Path) -> None:
    write_run(tmp_path, *battles(30, names=("only",)))
    findings = build(read(RunPaths(RUN, tmp_path), BASES), tmp_path / "out")
    assert findings.appearances.to_dict() == {"only": 60}
    assert len(findings.win_rates) == 0
    assert not (tmp_path / "out" / "figures" / "win_rates.svg").exists()


def test_many_models_and_bases_fit(tmp_path: Path) -> None:
    names = (*NAMES, *(f"a-model-with-a-rather-long-name-{number}-instruct-2024" for number in range(64)))
    bases = (*BASES, "llama", "gemma2", "one", "two", "three")
    write_run(tmp_path, *battles(500, names=names), bases=bases, curves=("roberta", "llama", "gemma2"))
    findings = build(read(RunPaths(RUN, tmp_path), bases), tmp_path / "out")
    assert list(findings.models) == ["stack", *bases]
    page = Page((tmp_path / "out" / "index.html").read_text())
    assert set(findings.appearances.index) - {NAMES[-1]} <= set(page.words)


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


def test_of_very_many_bases_the_best_have_panels_and_all_have_rows(tmp_path: Path) -> None:
    bases = (*BASES, *(f"base{number}" for number in range(MOST_PANELS)))
    write_run(tmp_path, *battles(60), bases=bases, curves=bases)
    findings = build(read(RunPaths(RUN, tmp_path), bases), tmp_path / "out")
    assert list(findings.models) == ["stack", *bases]
    page = Page((tmp_path / "out" / "index.html").read_text())
    assert set(bases) <= set(page.words)
    assert f"Shown are the {MOST_PANELS - 1} bases of {len(bases)}" in " ".join(page.words)
    for figure, panels in (("reliability", MOST_PANELS), ("curves", MOST_PANELS - 1)):
        content = (tmp_path / "out" / "figures" / f"{figure}.svg").read_text()
        assert len(re.findall(r'<g id="axes_\d+">', content)) == panels
    # The synthetic noise grows with a base's number.
    assert "base0" in content
    assert bases[-1] not in content


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
        ({"bases": {"roberta": 1}, "candidates": {}, "shipped": "x"}, "bases.roberta: Input should be"),
        ({"bases": {}, "candidates": {}, "shipped": "x"}, "no figures of roberta"),
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


def test_hostile_names_of_models_harm_neither_the_page_nor_a_figure(tmp_path: Path) -> None:
    hostile = (
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "' onmouseover='alert(1)",
        "--><script>x</script><!--",
        "]]></text><script>x</script>",
        "&lt;script&gt;",
        "javascript:alert(1)",
        "\u202egnp.exe\u2066",
        "מודל-א",
        "line\u2028break\r\n",
        "x" * 20_000,
    )
    write_run(tmp_path, *battles(400, names=hostile))
    build(read(RunPaths(RUN, tmp_path), BASES), tmp_path / "out")
    markup = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    page = Page(markup)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.images)
    assert "Content-Security-Policy" in markup
    assert not re.search("[\u202a-\u202e\u2028\u2029\u2066-\u2069]", markup)
    assert {*hostile[:7], "מודל-א"} <= set(page.words)
    assert len(markup) < 2_000_000
    for path in (tmp_path / "out" / "figures").glob("*.svg"):
        tags = {element.tag.rpartition("}")[2] for element in ET.parse(path).iter()}
        assert not {"script", "img", "foreignObject"} & tags
