"""The page in a real browser: two widths, two colour schemes, a hostile battle, and nothing from anywhere else."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from battles.paths import RunPaths
from report.build import build
from report.inputs import read
from tests.chromium import Chromium, View, chromium, find_chromium
from tests.report.synthetic import BASES, RUN, battles, everything, write_run

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
    build(inputs, root / "report", replace(everything(inputs), facts=[("file", "a/long/path/" * 30)]))
    return root / "report" / "index.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(str(find_chromium()), tmp_path_factory.mktemp("profile")) as running:
        yield running


# Charts are drawn where they are near the window: this one holds the whole page, but for the list of battles.
TALL = 30_000
DRAWN = "document.querySelectorAll('figure:not(.live)').length === 0"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_whole_quiet_and_fits(page: Path, browser: Chromium, width: int, scheme: str) -> None:
    view = browser.open(page, width, TALL, scheme)
    view.value("document.querySelector('.list').style.maxHeight = '1000px'")
    view.value("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    view.wait(DRAWN)
    assert view.messages == []
    assert [url for url in view.requests if not url.startswith("data:")] == [page.resolve().as_uri()]
    assert view.value("document.documentElement.scrollWidth") == width
    figures = view.value(
        "[...document.querySelectorAll('figure')].map((one) => { const image = one.querySelector('img'), "
        "chart = one.querySelector('.chart'); return [image.alt, chart.getAttribute('aria-label'), image.naturalWidth, "
        "image.getBoundingClientRect().width, chart.querySelector('svg').getBoundingClientRect().width, "
        "one.getBoundingClientRect().right] })"
    )
    assert len(figures) > 10
    for alternative, label, natural, image, chart, right in figures:
        assert alternative == label
        assert len(alternative) > 10
        assert image == 0
        # As wide as it was drawn: so its text has the size that it was drawn in.
        assert chart >= 0.98 * natural > 200, alternative
        assert right <= width
    sizes = view.value("[...document.querySelectorAll('.chart text')].map((one) => getComputedStyle(one).fontSize)")
    assert min(float(size.removesuffix("px")) for size in sizes) >= 11
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


@pytest.mark.parametrize("drawn", [True, False])
def test_figures_change_their_colours_in_a_dark_window(
    page: Path, browser: Chromium, tmp_path: Path, drawn: bool
) -> None:
    view = browser.open(page, 390, 4000)
    view.value("document.querySelector('#where').scrollIntoView()")
    view.wait("document.querySelectorAll('.live').length > 9")
    if not drawn:  # as without the script
        view.value("document.querySelectorAll('.live').forEach((one) => one.classList.remove('live'))")
    shots = {}
    for scheme in ("light", "dark"):  # the open page follows
        view.emulate(scheme)
        view.screenshot(tmp_path / "shot.png", whole=False)
        with Image.open(tmp_path / "shot.png") as image:
            shots[scheme] = np.asarray(image.convert("RGB"), dtype=np.float64) / 255
    light, dark = shots["light"], shots["dark"]
    assert light.shape == dark.shape
    # Nowhere is a white ground left over.
    assert light.mean() > 0.8
    assert dark.mean() < 0.35
    assert (dark.min(axis=2) > 0.97).mean() < 0.01


def _middle(view: View, selector: str) -> tuple[float, float]:
    """Brings an element into the window and says where its middle is there."""
    found = f"document.querySelector({selector!r})"
    view.value(f"{found}.scrollIntoView({{ block: 'center' }})")
    # Until the page knows that it has scrolled.
    view.promised("requestAnimationFrame(() => requestAnimationFrame(done))")
    x, y, width, height = view.value(
        f"(() => {{ const at = {found}.getBoundingClientRect(); return [at.x, at.y, at.width, at.height] }})()"
    )
    return x + width / 2, y + height / 2


def test_a_figure_tells_its_values_and_singles_out_a_series(page: Path, browser: Chromium) -> None:
    view = browser.open(page, 1280)
    view.value("document.querySelector('#calibration').scrollIntoView()")
    view.wait("document.querySelector('#calibration .live')")
    marks = "#calibration .live .mark-symbol.role-mark path"
    view.mouse("Moved", _middle(view, marks))
    view.wait("document.querySelector('#vg-tooltip-element.visible')")
    told = view.value("document.querySelector('#vg-tooltip-element').innerText")
    assert re.search(r"outcome\s+(A wins|B wins|tie)\s+predicted\s+0\.\d{3}\s+observed\s+[01]\.\d{3}", told)
    opacities = f"[...document.querySelector('#calibration .live').querySelectorAll({marks.split('.live ')[1]!r})]"
    opacities += ".map((one) => one.getAttribute('opacity'))"
    assert set(view.value(opacities)) == {"1"}
    view.click(_middle(view, "#calibration .live .role-legend-label text"))
    view.wait(f"new Set({opacities}).size === 2")
    assert view.messages == []


def test_a_finger_is_told_values_and_scrolls(page: Path, browser: Chromium) -> None:
    view = browser.open(page, 390)
    browser.call("Emulation.setTouchEmulationEnabled", {"enabled": True}, view.session)
    view.value("document.querySelector('#calibration').scrollIntoView()")
    view.wait("document.querySelector('#calibration .live')")

    def touch(kind: str, *at: tuple[float, float]) -> None:
        points = [{"x": x, "y": y} for x, y in at]
        browser.call("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points}, view.session)

    at = _middle(view, "#calibration .live .mark-symbol.role-mark path")
    touch("Start", at)
    touch("End")
    view.wait("document.querySelector('#vg-tooltip-element.visible')")
    scrolled = view.value("scrollY")
    at = _middle(view, "#calibration .live .chart")
    touch("Start", at)
    for step in range(1, 9):
        touch("Move", (at[0], at[1] - 20 * step))
    touch("End")
    view.wait(f"scrollY > {scrolled} && !document.querySelector('#vg-tooltip-element.visible')")
    assert view.messages == []


def test_curves_zoom_by_ctrl_and_the_wheel_alone(page: Path, browser: Chromium) -> None:
    view = browser.open(page, 1280)
    view.value("document.querySelector('#training').scrollIntoView()")
    view.wait("document.querySelector('#training .live')")
    at = _middle(view, "#training .live .chart")
    ticks = (
        "[...document.querySelectorAll('#training .live .role-axis-label text')].map((one) => one.textContent).join()"
    )
    before, scrolled = view.value(ticks), view.value("scrollY")
    view.mouse("Wheel", at, deltaX=0, deltaY=-600, modifiers=2)
    view.wait(f"{ticks} !== {before!r}")
    assert view.value("scrollY") == scrolled
    for number in (1, 2):
        for kind in ("Pressed", "Released"):
            view.mouse(kind, at, button="left", clickCount=number)
    view.wait(f"{ticks}.split(',').sort().join() === {_sorted(before)!r}")
    view.mouse("Wheel", at, deltaX=0, deltaY=-200)
    view.wait(f"scrollY < {scrolled}")
    assert view.value(f"{ticks}.split(',').sort().join()") == _sorted(before)


def _sorted(ticks: str) -> str:
    return ",".join(sorted(ticks.split(",")))


def test_hostile_names_are_text_in_figures_and_what_they_tell(browser: Chromium, tmp_path: Path) -> None:
    names = ("<img src=x onerror=\"document.title='taken'\">", "</script><h1 id='taken'>", "plain", "datum.value")
    write_run(tmp_path, *battles(300, names=names))
    build(read(RunPaths(RUN, tmp_path), BASES), tmp_path / "report")
    view = browser.open(tmp_path / "report" / "index.html", 1280)
    view.value("document.querySelector('#models').scrollIntoView()")
    view.wait("document.querySelector('#models .live')")
    view.mouse("Moved", _middle(view, "#models .live .mark-rect.role-mark path"))
    view.wait("document.querySelector('#vg-tooltip-element.visible')")
    assert names[0] in view.value("document.querySelector('#vg-tooltip-element').innerText")
    assert view.value("document.querySelectorAll('#taken, #vg-tooltip-element img').length") == 0
    assert view.value("document.title") == f"Preference prediction: run {RUN}"
    assert view.messages == []


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


def test_it_can_be_printed(page: Path, browser: Chromium, tmp_path: Path) -> None:
    view = browser.open(page, 720, TALL, scheme="dark")
    view.value("document.querySelector('.list').style.maxHeight = '1000px'")
    view.wait(DRAWN)
    view.emulate("dark", "print")
    assert view.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert view.value("getComputedStyle(document.querySelector('nav')).display") == "none"
    printed = []
    for scheme in ("dark", "light"):  # images of figures, too, are dark upon white
        view.emulate(scheme, "print")
        view.screenshot(tmp_path / f"{scheme}.png", whole=False)
        printed.append((tmp_path / f"{scheme}.png").read_bytes())
    assert printed[0] == printed[1]
    assert view.value("document.documentElement.scrollWidth") <= 720
    shown = "[...document.querySelectorAll({!r})].filter((one) => one.getBoundingClientRect().width > 0).length"
    assert view.value(shown.format("figure img")) > 10
    assert view.value(shown.format(".chart")) == 0
