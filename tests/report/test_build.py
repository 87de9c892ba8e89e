"""The whole report on synthetic runs: what it holds, what it must never hold, and what it does without."""

import base64
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from battles.files import read_table, write_table
from battles.paths import RunPaths
from battles.schema import labels
from oof import table
from oof.metrics import log_loss
from report.build import build
from report.gallery import MOST_PANELS
from report.inputs import Extras, read
from tests.report.synthetic import BASES, NAMES, RUN, battles, everything, write_run


class Page(HTMLParser):
    """The text, the tags and the images' sources of a page."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.images: list[str] = []
        self.alternatives: list[str] = []
        self.anchors: list[str] = []
        self.programs = 0
        self.charts: list[str] = []
        self.policy = ""
        self._in_chart = False
        self.feed(markup)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attributes)
        if tag == "img":
            self.images.append(given.get("src") or "")
            self.alternatives.append(given.get("alt") or "")
        if tag == "section":
            self.anchors.append(given.get("id") or "")
        if tag == "meta" and given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given.get("content") or ""
        if tag == "script":
            self._in_chart = given.get("type") == "application/json"
            self.programs += not self._in_chart

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._in_chart = False

    def handle_data(self, data: str) -> None:
        (self.charts if self._in_chart else self.words).append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a whole run."""
    root = tmp_path_factory.mktemp("whole")
    write_run(root, *battles(300))
    inputs = read(RunPaths(RUN, root), BASES)
    build(inputs, root / "report" / RUN, everything(inputs))
    return root / "report" / RUN


def _words(folder: Path) -> str:
    return " ".join(Page((folder / "index.html").read_text(encoding="utf-8")).words)


def test_what_is_closed_of_the_gap_to_a_known_truth_stands_above_all_sections(written: Path) -> None:
    closed = json.loads((written / "metrics.json").read_text())["reached"]
    told = f"this much is closed, expected under that truth: the submission {closed['stack']['share']:.1%}"
    assert told in _words(written)
    assert closed["Bayes-optimal"]["share"] == 1.0


def test_the_params_shown_are_those_of_the_chosen_trial(written: Path) -> None:
    """The study of `synthetic.everything`: trial 10 is the best complete one, trial 4 is chosen."""
    words = " ".join(_words(written).split())
    line = words[words.index("chosen trial's") :]
    best, chosen = np.linspace(1.1, 1.0, 12)[[10, 4]]
    assert line.index(f"{best:.5f}") < line.index(f"{chosen:.5f} 9 rounds")
    assert "Params of the chosen trial, 4 param value num_leaves 7 extra_trees True" in words


def test_the_page_stands_alone_with_every_section_and_figure(written: Path) -> None:
    page = Page((written / "index.html").read_text(encoding="utf-8"))
    assert page.anchors == [
        *("scores", "why", "battles", "where", "calibration", "order", "style", "training"),
        *("splits", "learning", "set", "models", "drift"),
        *("study", "run", "words"),
    ]
    files = {path.stem: path.read_bytes() for path in (written / "figures").glob("*.svg")}
    assert {"losses", "reliability-stack", "curves-roberta", "position", "verbosity", "families"} <= set(files)
    assert {"appearances", "win_rates", "ratings-votes", "ratings-style", "study-0-coordinates"} <= set(files)
    embedded = [base64.b64decode(source.removeprefix("data:image/svg+xml;base64,")) for source in page.images]
    assert sorted(embedded) == sorted(files.values())
    assert all(page.alternatives)
    for content in files.values():
        ET.fromstring(content)
    assert not {"link", "iframe"} & set(page.tags)
    assert page.programs == 2  # Vega and our own
    assert len(page.charts) == len(files)
    assert all(json.loads(chart)["description"] in page.alternatives for chart in page.charts)
    allowed = dict(rule.strip().split(" ", 1) for rule in page.policy.split(";"))
    assert allowed.pop("style-src") == "'unsafe-inline'"
    assert re.fullmatch("'sha256-[^' ]+' 'sha256-[^' ]+'", allowed.pop("script-src"))
    assert allowed.pop("img-src") == "data:"
    assert set(allowed.values()) == {"'none'"}
    assert "default-src" in allowed


def test_the_words_before_the_figures_say_what_the_figures_say(written: Path) -> None:
    metrics = json.loads((written / "metrics.json").read_text())
    words, stack = _words(written), metrics["models"]["stack"]
    assert f"On 300 voted battles the stack has a log loss of {stack['log_loss']:.4f} ± " in words
    low, high = stack["log_loss_interval"]
    assert low < stack["log_loss"] < high
    assert low == pytest.approx(stack["log_loss"] - 1.96 * stack["log_loss_standard_error"], abs=0.02)
    assert "few: the stack's log loss is only known to" in words
    assert "The test battles differ from the training battles" in words
    assert metrics["alerts"]
    assert "made 2024-12-01 12:00 UTC" in re.sub(r"\s+", " ", words)
    assert "Not in this report" not in words


def test_why_how_much_is_style_and_optimism_are_shown_as_they_were_found(written: Path) -> None:
    metrics = json.loads((written / "metrics.json").read_text())
    words = " ".join(_words(written).split())
    gains = {row["input"]: row["gain"] for row in metrics["why"]["inputs"]}
    assert gains == {"roberta": 0.25, "words": 0.75, "<i>odd</i>": 0}
    assert {row["family"]: row["gain"] for row in metrics["why"]["families"]}["base models"] == 0.25
    assert "25.0%" in words
    nested = metrics["stacker"]["candidates"]["booster"]["log_loss"]
    assert f"booster 0.9000 {nested:.4f} " in words
    for row in metrics["style"]:
        assert 0.3 < row["decisive_auc"] < 1
        assert f"{row['what']} {row['log_loss']:.4f}" in words
    whole = metrics["models"]["stack"]["decisive_auc"]
    assert metrics["style"][-1]["decisive_auc"] == pytest.approx(whole)
    assert "style alone reached 0.656" in words
    only = next(iter(metrics["exploration"]["scripts"]))
    assert f"All prompts have the same script ({only})" in words


def test_names_are_escaped_on_the_page_and_are_no_formulas_in_figures(written: Path) -> None:
    markup = (written / "index.html").read_text(encoding="utf-8")
    page = Page(markup)
    assert "i" not in page.tags  # of the ids and of an input
    assert any("<b>bold</b> & co" in word for word in page.words)
    assert any("cost-$5-$10" in word for word in page.words)
    figure = ET.parse(written / "figures" / "appearances.svg")
    drawn = {"".join(element.itertext()).strip() for element in figure.iter() if element.tag.endswith("}text")}
    assert {"cost-$5-$10", "<b>bold</b> & co", "模型-α"} <= drawn
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", markup)


def test_texts_are_on_the_page_only_where_they_are_wanted(written: Path, tmp_path: Path) -> None:
    assert "SECRET TEXT" in _words(written)
    inputs = read(RunPaths(RUN, written.parents[1]), BASES)
    build(inputs, tmp_path, everything(inputs, with_texts=False))
    assert all(b"SECRET" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert "Texts are left out (TEXTS=no)" in _words(tmp_path)


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
        of_fold = [row["battles"] for row in metrics["folds"]]
        assert sum(of_fold) == 300
    assert metrics["position"]["models"]["roberta"]["first_place"] > 0.02
    assert metrics["position"]["models"]["tfidf"]["first_place"] is None
    assert metrics["second_order"]["roberta"]["change"] < 0
    assert metrics["stacker"]["shipped"] == "booster"
    assert metrics["why"]["base_weights"]["roberta"] == {"lead": 0.5, "tie": 0.4}
    assert metrics["drift"]["auc"] == 0.8


def test_the_card_has_the_form_of_the_hub(written: Path) -> None:
    import yaml

    text = (written / "MODEL_CARD.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    described = yaml.safe_load(front)
    assert described["model-index"][0]["results"][0]["metrics"][0]["type"] == "log_loss"
    metrics = json.loads((written / "metrics.json").read_text())
    stated = described["model-index"][0]["results"][0]["metrics"][0]["value"]
    assert stated == pytest.approx(metrics["models"]["stack"]["log_loss"], abs=1e-5)
    for heading in ("Model details", "Uses", "Bias, risks and limitations", "Training data", "Evaluation"):
        assert f"## {heading}" in body
    assert "a \\<b\\>fast" in body


def test_the_same_tables_give_the_same_report(written: Path, tmp_path: Path) -> None:
    inputs = read(RunPaths(RUN, written.parents[1]), BASES)
    build(inputs, tmp_path, everything(inputs))
    for path in written.rglob("*.*"):
        assert (tmp_path / path.relative_to(written)).read_bytes() == path.read_bytes(), path.name


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
    assert findings.folds["fold"].tolist() == [0, 3]
    assert "Only 80 of 200 battles are scored" in (tmp_path / "out" / "index.html").read_text()


def test_what_a_run_lacks_is_left_out_and_said(tmp_path: Path) -> None:
    voted, lengths, logits = battles(60)
    out = tmp_path / "out"
    write_run(tmp_path, voted, lengths, logits)
    build(read(RunPaths(RUN, tmp_path), BASES), out)
    bare = tmp_path / "bare"
    nameless = voted.drop(columns=["model_a", "model_b", "prompt", "response_a", "response_b"])
    write_run(bare, nameless, np.ones_like(lengths), logits, ("tfidf",), curves=())
    write_table(bare / "features" / RUN / "train.parquet", nameless[["id"]])
    build(read(RunPaths(RUN, bare), ["tfidf"]), out, Extras(rows=90))
    # Figures of the earlier report that this one lacks are gone.
    kept = {path.stem for path in (out / "figures").iterdir()}
    assert kept == {"losses", "reliability-stack", "reliability-tfidf", "position"}
    page = Page((out / "index.html").read_text())
    assert page.anchors == ["scores", "why", "battles", "where", "calibration", "order", "set", "run", "words"]
    words = " ".join(page.words)
    assert "Only 60 of the table's 90 rows" in words
    for lacking in (
        "Texts, lengths",
        "Models and ratings",
        "Training curves",
        "Contributions",
        "Tuning",
        "test battles",
    ):
        assert f"{lacking}" in words[words.index("Not in this report") :]
    assert "No base of this run was read in both response orders" in words


def test_a_run_without_ties_is_reported(tmp_path: Path) -> None:
    voted, lengths, logits = battles(120)
    tied = voted["winner_tie"] == 1
    voted.loc[tied, "winner_model_a"] = 1
    voted["winner_tie"] = np.int8(0)
    logits[:, 2] = -2000.0
    write_run(tmp_path, voted, lengths, logits)
    findings = build(read(RunPaths(RUN, tmp_path), BASES), tmp_path / "out")
    assert findings.ratings is not None
    assert findings.ratings.tie == pytest.approx(0, abs=1e-9)
    assert findings.votes["share_tie"] == 0
    assert findings.classes == 2
    words = _words(tmp_path / "out")
    assert "No battle of this run can be a tie" in words
    assert "No battle has the vote" not in words


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
    words = "\n".join(page.words)
    assert all(name in words for name in set(findings.appearances.index) - {NAMES[-1]})


def test_of_very_many_bases_the_best_have_panels_and_all_have_rows(tmp_path: Path) -> None:
    bases = (*BASES, *(f"base{number}" for number in range(MOST_PANELS)))
    write_run(tmp_path, *battles(60), bases=bases, curves=bases)
    findings = build(read(RunPaths(RUN, tmp_path), bases), tmp_path / "out")
    assert list(findings.models) == ["stack", *bases]
    page = Page((tmp_path / "out" / "index.html").read_text())
    assert set(bases) <= set(page.words)
    assert f"Shown are the {MOST_PANELS - 1} bases of {len(bases)}" in " ".join(page.words)
    drawn = [path.stem for path in (tmp_path / "out" / "figures").glob("*.svg")]
    assert sum(name.startswith("reliability-") for name in drawn) == MOST_PANELS
    assert sum(name.startswith("curves-") for name in drawn) == MOST_PANELS


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
    assert not {"link", "iframe", "object"} & set(page.tags)
    assert page.programs == 2  # Vega and our own
    assert all(json.loads(chart)["layer"] for chart in page.charts)
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.images)
    assert "Content-Security-Policy" in markup
    assert not re.search("[\u202a-\u202e\u2028\u2029\u2066-\u2069]", markup)
    words = "\n".join(page.words)
    assert all(name in words for name in (*hostile[:7], "מודל-א"))
    assert len(markup) < 3_000_000
    for path in (tmp_path / "out" / "figures").glob("*.svg"):
        tags = {element.tag.rpartition("}")[2] for element in ET.parse(path).iter()}
        assert not {"script", "img", "foreignObject"} & tags
