"""The figures of a report: each made once, saved as SVG for papers, and shown by the page from the same chart."""

import json
import math
from pathlib import Path
from typing import Any

import altair as alt

from battles.files import write_text
from report.page import Image
from report.rendering import svg
from report.style import clean

# Figures of one kind: laying out one for each of 200 bases takes minutes, and nobody looks at them.
MOST_PANELS = 12


class Gallery:
    """Saves figures to a folder, and knows which it has saved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: set[str] = set()

    def add(self, name: str, chart: alt.LayerChart, what: str, caption: str = "") -> Image:
        """Saves a figure under `name`; `what` tells those who cannot see it what it shows."""
        if name in self._names:
            raise ValueError(f"figure {name} is drawn twice")
        self._names.add(name)
        spec = _finite(chart.to_dict()) | {"description": clean(what)}
        write_text(self.folder / f"{name}.svg", svg(spec))
        # The schema's address is a hint for editors; nothing on a page should name a host.
        del spec["$schema"]
        return Image(name, what, caption, json.dumps(spec, ensure_ascii=False, separators=(",", ":"), allow_nan=False))

    def forget_others(self) -> None:
        """Removes figures of an earlier report that this one lacks."""
        for old in self.folder.glob("*.svg"):
            if old.stem not in self._names:
                old.unlink()


def _finite(value: Any) -> Any:
    """The same with null for what is no number, which JSON and Vega do not know and a chart leaves out."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
