"""The figures of a report: drawn once, saved as SVG for papers, and referred to by the page."""

from pathlib import Path

from matplotlib.figure import Figure

from report.page import Image
from report.style import save


class Gallery:
    """Saves figures to a folder, and knows which it has saved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: set[str] = set()

    def add(self, name: str, figure: Figure, what: str, caption: str = "") -> Image:
        """Saves a figure under `name`; `what` tells those who cannot see it what it shows."""
        if name in self._names:
            raise ValueError(f"figure {name} is drawn twice")
        self._names.add(name)
        save(figure, self.folder / f"{name}.svg")
        return Image(name, what, caption)

    def forget_others(self) -> None:
        """Removes figures of an earlier report that this one lacks."""
        for old in self.folder.glob("*.svg"):
            if old.stem not in self._names:
                old.unlink()
