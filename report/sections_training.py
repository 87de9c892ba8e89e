"""The sections on single models: calibration, and the training curves of language models."""

from oof.table import STACK
from report import draw_models
from report.figures_as_text import number
from report.findings import Findings
from report.gallery import MOST_PANELS, Gallery
from report.inputs import PRIOR, Extras, Inputs
from report.page import Images, Section, Words


def calibration(findings: Findings, gallery: Gallery) -> Section:
    """Reliability diagrams of the stack and of the best bases."""
    shown = [STACK, *findings.bases[: MOST_PANELS - 1]]
    images = []
    for name in shown:
        figures = findings.models[name]
        caption = f"{name}: ECE {number(figures['ece'], 3)}, by chance {number(figures['chance_ece'], 3)}"
        what = f"Observed share against predicted probability of each outcome, {name}"
        images.append(
            gallery.add(f"reliability-{name}", draw_models.reliability(findings.reliability[name]), what, caption)
        )
    cut = len(findings.bases) - len(shown) + 1
    words = (
        "Of the battles given a probability p, a share p should come true: points on the dashed line. A flatter curve "
        "is over-confidence, a steeper one too much caution. Each point is a tenth of the battles (more where they "
        "are few), with its standard error; ECE is of the most probable outcome in 15 bins."
        + (f" Shown are the {len(shown) - 1} bases of {len(findings.bases)} with the lowest log loss." if cut else "")
    )
    return Section("calibration", "Calibration", [Words(words), Images(images)])


def training(inputs: Inputs, findings: Findings, extras: Extras, gallery: Gallery) -> Section:
    """Training curves; for runs that have some."""
    prior = float(findings.losses[PRIOR].mean())
    shown = [name for name in findings.bases if name in inputs.curves][:MOST_PANELS]
    images = [
        gallery.add(
            f"curves-{name}",
            draw_models.curves(inputs.curves[name], name in extras.squared, prior),
            f"Training loss by step of {name}, one line a fold"
            + ("" if name in extras.squared else "; dots: log loss on held-out battles"),
            f"{name}{' (squared error)' if name in extras.squared else ''}",
        )
        for name in shown
    ]
    most = sorted({extras.dots[name] for name in shown if name in extras.dots})
    up_to = f"at most {' or '.join(map(str, most))}" if most else "some"
    words = (
        "Lines: training loss of each fold, averaged over the last 8 % of all steps. Dots: log loss at an epoch's end "
        f"on {up_to} battles of the held-out fold, read in one response order, so it is noisier than the scores above "
        "and not the same figure; nothing is chosen by it. Dashed: the vote frequencies. Lines that fall while the "
        "dots rise are over-fitting; a line that stays at the dashed one has learnt nothing. A base trained on "
        "squared errors has another scale, and neither dots nor the dashed line."
    )
    return Section("training", "Training", [Words(words), Images(images)])
