"""Figures: texts of a run are data and never expressions, equal charts give equal files, and what is not drawn."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert

from report import charts, draw_models, draw_study
from report.gallery import Gallery
from report.learning import Point
from report.rendering import runtime, svg
from report.style import DARK, labels
from tests.report.synthetic import curve

# Whatever would make of a name an expression, a template or the path of a field.
HOSTILE = ("'] + HOSTILE + ['", '"); HOSTILE("', "datum.HOSTILE[0]", "<b>HOSTILE</b>\\", "HOSTILE${1+1}")


def trials() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "number": range(30),
            "state": ["COMPLETE"] * 25 + ["PRUNED"] * 5,
            "value": rng.normal(1, 0.01, 30),
            **{name: rng.normal(size=30) for name in HOSTILE},
        }
    )


def every_chart() -> dict[str, Callable[[], alt.LayerChart]]:
    """One chart of each kind, with hostile names wherever a run's own text can stand."""
    rng, count = np.random.default_rng(0), len(HOSTILE)
    values = np.linspace(0.9, 1.1, count).tolist()
    ends = [(value - 0.1, value + 0.1) for value in values]
    lengths = {"ratio_from": [1.0, 1.5], "ratio_to": [1.5, 9.0], "battles": [20, 20], "votes": [0.5, 0.6]}
    bins = {"class": [0, 1, 2], "predicted": [0.2] * 3, "observed": [0.3] * 3, "standard_error": [0.1, np.nan, 0.1]}
    points = [Point(share, int(400 * share), 1.0, 0.1, 0.1, 0.05) for share in (0.25, 0.5, 1.0)]
    leads: dict[str, float | None] = {"mean": 0.01, "plain": 0.02, "swapped": None}
    return {
        "bars": lambda: charts.bars(HOSTILE, values, [f"{name} 1" for name in HOSTILE], "battles"),
        "dots": lambda: charts.dots(HOSTILE, values, ends, "log loss", 1.0, ["#2f6db3"] * count),
        "histogram": lambda: charts.histogram([0.0, 1.0, 2.0], [3, 4], "characters", "responses"),
        "reliability": lambda: draw_models.reliability(pd.DataFrame(bins)),
        "curves": lambda: draw_models.curves({0: curve(90, 3, rng), 3: curve(90, 3, rng)}, False, 1.1),
        "squared": lambda: draw_models.curves({0: curve(90, 3, rng)}, True, 1.1),
        "position": lambda: draw_models.position(dict.fromkeys(HOSTILE, leads), {"lead": 0.0, "standard_error": 0.1}),
        "ratings": lambda: draw_models.ratings(
            pd.DataFrame({"model": HOSTILE, "battles": 20, "rating": values, "styled": values[::-1]})
        ),
        "verbosity": lambda: draw_models.verbosity(
            pd.DataFrame({**lengths, "standard_error": [0.1, 0.1], "predicted": [0.5, 0.6]})
        ),
        "learning": lambda: draw_models.learning(dict.fromkeys(HOSTILE, points), 1.1),
        "history": lambda: draw_study.history(trials()),
        "coordinates": lambda: draw_study.parallel_coordinates(trials(), list(HOSTILE)),
    }


def _strings(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _strings(one, (*path, key))
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one, path)
    elif isinstance(value, str):
        yield path, value


# What Vega reads as code, or as the path of a field.
CODE = {
    "signal",
    "expr",
    "update",
    "init",
    "test",
    "filter",
    "field",
    "fields",
    "as",
    "name",
    "events",
    "sort",
    "groupby",
}


@pytest.mark.parametrize("kind", list(every_chart()))
def test_names_are_data_and_never_code(kind: str, tmp_path: Path) -> None:
    image = Gallery(tmp_path).add("one", every_chart()[kind](), f"what {HOSTILE[0]} shows")
    compiled = vl_convert.vegalite_to_vega(image.chart)
    strings = list(_strings(compiled))
    code = [text for path, text in strings if path[-1] in CODE and "values" not in path]
    assert len(code) > 5
    assert not [text for text in code if "HOSTILE" in text]
    # The test would see them: they are in the data.
    if kind in ("bars", "dots", "position", "ratings", "learning", "coordinates"):
        assert any("HOSTILE" in text for path, text in strings if path[0] == "data")


@pytest.mark.parametrize("kind", list(every_chart()))
def test_equal_charts_give_equal_files_that_stand_alone(kind: str, tmp_path: Path) -> None:
    one, other = (Gallery(tmp_path / name).add("one", every_chart()[kind](), "what") for name in ("a", "b"))
    assert one == other
    content = (tmp_path / "a" / "one.svg").read_bytes()
    assert content == (tmp_path / "b" / "one.svg").read_bytes()
    root = ET.fromstring(content)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert not {"script", "image", "foreignObject", "a"} & tags
    assert int(root.attrib["width"]) == 341
    used = {element.attrib.get(what) for element in root.iter() for what in ("fill", "stroke")}
    # Every colour has one for dark windows.
    assert {colour for colour in used if colour and colour.startswith("#")} <= set(DARK)
    assert "http" not in one.chart


def test_what_is_no_number_is_not_drawn() -> None:
    spec = charts.dots(["one", "two"], [1.0, float("nan")], [(0.9, 1.1), (float("nan"), float("nan"))], "loss")
    drawn = svg(json.loads(json.dumps(spec.to_dict()).replace("NaN", "null")))
    circles = [e for e in ET.fromstring(drawn).iter() if "mark-symbol" in e.attrib.get("class", "")]
    assert len(circles[0]) == 1


def test_labels_are_short_and_no_two_are_alike() -> None:
    names = [f"a-model-with-a-rather-long-name-{number}" for number in range(3)]
    assert labels([*names, "short", "a\x00b"]) == [
        "a-model-with-a-rather-lon…",
        "a-model-with-a-rather-lon… (2)",
        "a-model-with-a-rather-lon… (3)",
        "short",
        "a\N{REPLACEMENT CHARACTER}b",
    ]


def test_the_program_of_the_figures_can_stand_in_a_page() -> None:
    program = runtime()
    assert "</script" not in program.lower()
    assert "<!--" not in program
    assert len(program) < 1_000_000
    assert program == vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
