"""The section on what more battles would bring."""

from report import draw_models
from report.figures_as_text import DASH, number, percent
from report.findings import Findings
from report.gallery import Gallery
from report.inputs import PRIOR, Extras
from report.learning import Point, by_share
from report.page import Image, Images, Section, Table, Words

_Z = 1.96
_HEAD = ["model", "share", "battles learnt from", "log loss, nats", "worse than with all", "± 95 %"]


def learning(findings: Findings, extras: Extras, gallery: Gallery) -> Section:
    """Learning curves; for runs that have some."""
    prior = float(findings.losses[PRIOR].mean())
    images: list[Image] = []
    rows: list[list[str]] = []
    fitted: list[Words] = []
    gains: list[str] = []
    for at, one in enumerate(extras.learning):
        models, curve = by_share(one), one.curve
        what = f"Log loss by the number of battles learnt from, {' and '.join(models)}"
        caption = next(iter(models)) if len(models) == 1 else "From the texts up"
        images.append(gallery.add(f"learning-{at}", draw_models.learning(models, prior), what, caption))
        rows += [_line(model, point) for model, points in models.items() for point in points]
        drawn = f"a smaller share is the mean of {curve.draws} draws" if curve.draws > 1 else "one draw of each share"
        fitted.append(Words(f"{one.fixed} Scored on {len(curve.rows):,} battles; {drawn}."))
        for model, points in models.items():
            half = points[-2]
            gains.append(f"{model}: {number(-half.change, sign=True)} ± {number(_Z * half.change_error)}")
    words = (
        "Models that are fitted again on a quarter, half and all of the prompts outside of a fold, and scored on that "
        "fold, whose battles they have not seen. What the second half of the battles changed in log loss: "
        f"{'; '.join(gains)} (nats, below 0 is better; 95 %). If a curve still falls at its right end, more battles "
        "would help that model; one that is flat has learnt what it can. Language models are not fitted again: their "
        "curve may be another. The bars are of the difference to all battles."
    )
    return Section("learning", "More battles", [Words(words), Images(images), Table(_HEAD, rows), *fitted])


def _line(model: str, point: Point) -> list[str]:
    last = point.share == 1
    return [
        model,
        percent(point.share, 0),
        f"{point.battles:,}",
        number(point.log_loss),
        DASH if last else number(point.change, sign=True),
        DASH if last else number(_Z * point.change_error),
    ]
