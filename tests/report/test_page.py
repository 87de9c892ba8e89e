"""The page in a real browser: two widths, two colour schemes, a hostile battle, and nothing from anywhere else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from battles.paths import RunPaths
from report.browser import choose
from report.build import build
from report.inputs import Extras, read
from tests.chromium import Chromium, chromium, find_chromium
from tests.report.synthetic import BASES, RUN, battles, explanation, write_run

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="no Chromium (apt-get install chromium)")

HOSTILE = (
    "<script>document.title = 'taken'</script>",
    "</script></pre></details><h1 id='taken'>out</h1>",
    "\"'><img src=x onerror=\"document.title='taken'\">",
    "שלום \u202eleft\u2066 مرحبا",
    "half of a pair: \ud83d",
    "{{ 7 * 7 }} {% raw %} \x00\x1b[31m",
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run whose every battle is hostile, one response of 200 kB."""
    root = tmp_path_factory.mktemp("page")
    voted, lengths, logits = battles(240)
    voted["prompt"] = json.dumps([*HOSTILE, None])
    voted["response_a"] = json.dumps(["long " * 40_000])
    voted["response_b"] = json.dumps(["an answer-without-a-space" * 40])
    write_run(root, voted, lengths, logits)
    inputs = read(RunPaths(RUN, root), BASES)
    rows = np.unique(np.concatenate([*choose(inputs).values()]))
    build(inputs, root / "report", Extras(explanation=explanation(rows), facts=[("file", "a/long/path/" * 30)]))
    return root / "report" / "index.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(str(find_chromium()), tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_whole_quiet_and_fits(page: Path, browser: Chromium, width: int, scheme: str) -> None:
    view = browser.open(page, width, scheme=scheme)
    assert view.messages == []
    assert [url for url in view.requests if not url.startswith("data:")] == [page.resolve().as_uri()]
    view.value("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert view.value("document.documentElement.scrollWidth") == width
    images = view.value(
        "[...document.images].map((one) => [one.alt, one.naturalWidth, one.getBoundingClientRect().width])"
    )
    assert len(images) > 10
    for alternative, natural, shown in images:
        assert len(alternative) > 10
        # As wide as it was drawn: so its text has the size that it was drawn in.
        assert shown >= 0.98 * natural > 200, alternative
    back, front = view.value(
        "(() => { const style = getComputedStyle(document.body); return [style.backgroundColor, style.color] })()"
    )
    assert (_brightness(back) < _brightness(front)) == (scheme == "dark")


def _brightness(colour: str) -> int:
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))


def test_a_hostile_battle_is_text(page: Path, browser: Chromium) -> None:
    view = browser.open(page, 1280)
    assert view.value("document.title") == f"Preference prediction: run {RUN}"
    assert view.value("document.getElementById('taken')") is None
    shown = view.value("[...document.querySelector('.battle').querySelectorAll('pre')].map((one) => one.textContent)")
    for turn in HOSTILE[:3]:
        assert turn in shown
    assert "(no text)" in shown
    assert "half of a pair: \ufffd" in shown
    assert "{{ 7 * 7 }} {% raw %} \ufffd\ufffd[31m" in shown
    assert any(re.search(r"\n… 18\d,\d{3} characters left out here$", text) for text in shown)


def test_figures_change_their_colours_in_a_dark_window(page: Path, browser: Chromium, tmp_path: Path) -> None:
    for scheme in ("light", "dark"):
        browser.open(page, 390, scheme=scheme).screenshot(tmp_path / f"{scheme}.png")
    from matplotlib.image import imread

    light, dark = (imread(tmp_path / f"{scheme}.png")[..., :3] for scheme in ("light", "dark"))
    assert light.shape == dark.shape
    # Nowhere is a white ground left over.
    assert light.mean() > 0.8
    assert dark.mean() < 0.35
    assert (dark.min(axis=2) > 0.97).mean() < 0.01


def test_filters_and_sorting_work(page: Path, browser: Chromium) -> None:
    view = browser.open(page, 1280)
    count = "[...document.querySelectorAll('.battle')].filter((one) => !one.hidden).length"
    every = view.value(count)
    view.value(
        "(() => { const choice = document.querySelector('select[data-filter=vote]'); choice.value = 'tie';"
        "choice.dispatchEvent(new Event('change', { bubbles: true })) })()"
    )
    assert 0 < view.value(count) < every
    votes = view.value("[...document.querySelectorAll('.battle:not([hidden]) .vote')].map((one) => one.textContent)")
    assert set(votes) == {"tie"}
    rows = "[...document.querySelector('#scores table').tBodies[0].rows]"
    losses = f"{rows}.map((row) => parseFloat(row.cells[1].textContent))"
    before = view.value(losses)
    view.value("document.querySelector('#scores table th:nth-child(2)').click()")
    assert view.value(losses) == sorted(before, reverse=True) != before


def test_it_can_be_printed(page: Path, browser: Chromium) -> None:
    view = browser.open(page, 720, scheme="dark", media="print")
    assert view.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert view.value("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert view.value("document.documentElement.scrollWidth") <= 720
