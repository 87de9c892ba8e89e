"""Pictures of a finished run's report for the documentation: `docs/images/report-*.png`.

    make report && python -m benchmarks.pictures

Only the embedded sample's run is pictured, whose texts are invented: the texts of real battles must not come into the
repository. Needs Chromium, and nothing of the network.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from battles.files import read_json
from battles.paths import RunPaths
from tests.chromium import View, chromium, find_chromium

FOLDER = Path("docs/images")
MOST_BYTES = 200_000
_COLOURS = 128


@dataclass(frozen=True)
class Picture:
    """A part of the page: the window's width and colours, and the elements from whose top to whose end it goes."""

    name: str
    width: int
    scheme: str
    first: str
    last: str
    longest: int


PICTURES = (
    Picture("summary", 1280, "light", "header", "#scores > .scroll", 1000),
    Picture("why", 1280, "light", "#why", "#why > .images", 900),
    Picture("battle", 1280, "dark", ".battle", ".battle", 900),
    Picture("telephone", 390, "light", "header", "#scores > .images", 1500),
)


def take(view: View, picture: Picture, path: Path) -> None:
    """Writes one picture, with as many colours as it takes to stay small."""
    view.value("document.querySelector('.battle').open = true")
    top, bottom = (
        view.value(f"scrollY + document.querySelector({selector!r}).getBoundingClientRect().{edge}")
        for selector, edge in ((picture.first, "top"), (picture.last, "bottom"))
    )
    with tempfile.NamedTemporaryFile(suffix=".png") as whole:
        view.screenshot(Path(whole.name))
        with Image.open(whole.name) as image:
            begin = max(0, int(top) - 16)
            part = image.crop((0, begin, picture.width, min(int(bottom) + 16, begin + picture.longest)))
            part.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    if size > MOST_BYTES:
        sys.exit(f"{path} has {size:,} bytes, more than {MOST_BYTES:,}: picture less of the page")
    print(f"{path}: {part.width} × {part.height}, {size / 1000:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--run", default="sample", help="a run of the embedded sample with a report")
    paths = RunPaths(parser.parse_args().run)
    browser = find_chromium()
    if browser is None:
        sys.exit("no Chromium (apt-get install chromium)")
    if not paths.page.exists():
        sys.exit(f"{paths.page}: no such file; run `make report RUN={paths.name}` first")
    if read_json(paths.stamp("inputs"))["train"]["sha256"] is not None:
        sys.exit(f"run {paths.name} is not of the embedded sample: texts of real battles must not be pictured")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile, chromium(browser, Path(profile)) as running:
        for picture in PICTURES:
            view = running.open(paths.page, picture.width, scheme=picture.scheme)
            take(view, picture, FOLDER / f"report-{picture.name}.png")


if __name__ == "__main__":
    main()
