"""What stands above all sections: the run in words, its main figures, and what to know before believing them."""

from oof.metrics import calibrated_error
from oof.table import STACK
from report.figures_as_text import between, number, percent
from report.findings import Findings
from report.inputs import PRIOR, Extras, Inputs
from report.page import Card, Cards, Part, Words

_SIGMAS = 2.0


def summary(inputs: Inputs, findings: Findings, extras: Extras, alerts: list[str]) -> list[Part]:
    """What stands above all sections: the run in words, its main figures, and what to know before believing them."""
    stack, best = findings.models[STACK], findings.bases[0]
    first, prior = findings.models[best], inputs.scores["candidates"][PRIOR]["log_loss"]
    mean, deviation = calibrated_error(inputs.stack.probabilities[findings.rows])
    well = stack["ece"] <= mean + _SIGMAS * deviation
    difference = first["difference_interval"]
    lead = (
        f"On {findings.scored:,} voted battles the stack has a log loss of {number(stack['log_loss'])} ± "
        f"{number(1.96 * stack['log_loss_standard_error'])} nats (95 %; nested: each battle predicted without its own "
        f"fold, tuning and choice included). The best single model, {best}, has {number(first['log_loss'])}: the stack "
        f"is {number(first['difference'])} better ({between(difference)}). The vote frequencies alone have "
        f"{number(prior)}. The stack names the right one of {'two' if findings.classes == 2 else 'three'} outcomes in "
        f"{percent(stack['accuracy'])} of the battles. It is "
        + (
            f"calibrated within chance: its calibration error is {number(stack['ece'])} where chance gives "
            f"{number(mean)} ± {number(deviation)}."
            if well
            else f"less well calibrated than chance explains: {number(stack['ece'])} against {number(mean)} ± "
            f"{number(deviation)}."
        )
    )
    cards = [
        Card("log loss of the stack", number(stack["log_loss"]), f"95 %: {between(stack['log_loss_interval'])}"),
        Card(f"best base: {best}", number(first["log_loss"]), f"95 %: {between(first['log_loss_interval'])}"),
        Card("vote frequencies", number(prior)),
        Card("accuracy", percent(stack["accuracy"])),
        Card("calibration error", number(stack["ece"], 3), f"by chance {number(mean, 3)}"),
        Card("voted battles", f"{max(findings.battles, extras.rows):,}", f"{findings.scored:,} of them scored"),
    ]
    notes = [Words(_TWO_CLASSES, "note")] if findings.classes == 2 else []
    if extras.reached:
        closed = {"the submission": extras.reached[STACK].share}
        closed |= {name: extras.reached[name].share for name in findings.bases}
        told = ", ".join(f"{name} {percent(share)}" for name, share in closed.items())
        notes.append(Words(f"{_TRUTH} {told}.", "note"))
    return [Words(lead), Cards(cards), *notes, *(Words(text, "warning") for text in alerts)]


_TWO_CLASSES = (
    "No battle of this run can be a tie: there are two classes, the probability of a tie is 0 everywhere, and log "
    "loss is that of A against B, 0.6931 for one half each."
)
_TRUTH = (
    "The true vote probabilities of the embedded sample are known. Of the gap between the vote frequencies and the "
    "best possible log loss on its test battles this much is closed, expected under that truth:"
)
