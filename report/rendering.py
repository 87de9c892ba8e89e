"""Charts as SVG files, and the program that shows them in a page: both by vl-convert, which carries Vega along.

Neither a browser nor the network takes part.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

import vl_convert
from altair import SCHEMA_VERSION

from report.style import dark

_VERSION = ".".join(SCHEMA_VERSION.removeprefix("v").split(".")[:2])
_IDS = re.compile(r"\b(clip|gradient_)(\d+)\b")


def svg(spec: Mapping[str, Any]) -> str:
    """A Vega-Lite chart as SVG; the same chart gives the same bytes, and a dark window other colours."""
    drawn = vl_convert.vegalite_to_svg(dict(spec), vl_version=_VERSION, allowed_base_urls=[])
    numbers = dict[str, str]()
    # Vega counts the ids of clip paths through all charts of a process.
    drawn = _IDS.sub(lambda found: found[1] + numbers.setdefault(found[2], str(len(numbers))), drawn)
    return drawn.replace(">", f"><style>{dark()}</style>", 1)


@functools.cache
def runtime() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that gives the page `vegaEmbed`; about 0.9 MB."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=_VERSION)
