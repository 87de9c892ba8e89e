"""What a prediction under a clock is expected to come to: its log loss by minute.

A language model reads all battles in one order, then in the other (swap TTA). After each of these stages there is a
file, whose log loss the out-of-fold rows tell. With seconds for every stage that is a table of minutes and losses:
`make plan` prints it with computed seconds, `predict.py` with those that it knows.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from models.stacking.subsets import Losses, Subsets

# Bytes of weights that are read in a second, at the least: a data set that is mounted for the first time is slow.
SLOWEST_DISK = 50e6
# Seconds beside that: building the model, the first kernels.
_BESIDE = 10.0

# A base, the number of one of its models, and whether that has read the second order.
Key = tuple[str, int, bool]


@dataclass(frozen=True)
class Stage:
    """Something that can be done next: model `number` of a base reads the battles in one order.

    gain: what it brings, in nats, when it has read all battles; 0 where no out-of-fold row tells.
    """

    base: str
    number: int
    swapped: bool
    gain: float

    def __str__(self) -> str:
        model = f"{self.base}, model {self.number + 1}"
        return f"{model}, swapped order" if self.swapped else model

    @property
    def key(self) -> Key:
        return (self.base, self.number, self.swapped)


@dataclass(frozen=True)
class Stop:
    """Minutes after which a prediction may stop, the log loss (nats) expected then, and what has been done.

    The loss is that of the stop before where nothing is known of what was done since (`known` is False).
    """

    minutes: float
    loss: float
    what: str
    known: bool = True


@dataclass(frozen=True)
class Gains:
    """The stages of a prediction and what they bring, as out-of-fold rows tell it.

    models: language model → number of its saved models. second_order: those that read both orders.
    """

    subsets: Subsets
    models: Mapping[str, int]
    second_order: frozenset[str]

    def loss(self, read: Collection[Key]) -> float:
        """The out-of-fold log loss when these orders are read of all battles."""
        late = self.subsets.best([base for base in self.subsets.late if (base, 0, False) in read])
        losses: Losses = self.subsets.losses[self.subsets.key(late)]
        both = [base for base in late if (base, 0, True) in read or base not in self.second_order]
        # Each second order brings its share of what all of them together do.
        return losses.plain + (losses.both - losses.plain) * (len(both) / len(late) if late else 1.0)

    def best(
        self,
        read: Collection[Key],
        seconds: Callable[[Stage], float],
        possible: Callable[[Stage], bool] = lambda stage: True,
    ) -> Stage | None:
        """Of the stages that may come next, the one of the most gain per second; None where there is none."""
        return max(
            (stage for stage in self._next(read) if possible(stage)),
            # Later models of a base have no known gain: they come last, the quickest first.
            key=lambda stage: (stage.number == 0, stage.gain / max(seconds(stage), 1e-9), -seconds(stage)),
            default=None,
        )

    def _next(self, read: Collection[Key]) -> list[Stage]:
        """What is not read yet and may come next, the orders and models of a base in their order."""
        stages = []
        for base, count in self.models.items():
            orders = (False, True) if base in self.second_order else (False,)
            keys = ((base, number, swapped) for number in range(count) for swapped in orders)
            key = next((key for key in keys if key not in read), None)
            if key is not None:
                gain = 0.0 if key[1] else self.loss(read) - self.loss({*read, key})
                stages.append(Stage(*key, gain))
        return stages


def forecast(
    gains: Gains,
    load: Callable[[Stage], float],
    reading: Callable[[Stage], float],
    left: float,
    read: Collection[Key] = (),
) -> list[Stop]:
    """The stops of a prediction that has `left` seconds, by seconds to load a stage's model and to read all battles.

    read: what has been read already. Of a stage that does not end in time the part counts that does.
    """
    done, loaded, at = set(read), None, 0.0
    stops = [Stop(0.0, gains.loss(done), "without a language model" if not done else "as it is now")]

    def seconds(stage: Stage) -> float:
        return reading(stage) + (0.0 if loaded == stage.key[:2] else load(stage))

    while (stage := gains.best(done, seconds)) is not None:
        loss, reads = gains.loss({*done, stage.key}), reading(stage)
        begins = at + seconds(stage) - reads
        part = min(1.0, (left - begins) / max(reads, 1e-9))
        if part <= 0:
            break
        at, loaded = begins + part * reads, stage.key[:2]
        before, name = stops[-1], str(stage) if part == 1 else f"{stage}: {part:.0%} of the battles"
        reached = before.loss + part * (loss - before.loss) if stage.number == 0 else before.loss
        stops.append(Stop(at / 60, reached, name, stage.number == 0))
        if part < 1:
            break
        done.add(stage.key)
    return stops


def describe(stops: Sequence[Stop], battles: int, speeds: str) -> str:
    """The stops as a table. speeds: in words, where the seconds are from."""
    lines = [
        f"expected log loss by minute, of {battles:,} battles, by out-of-fold rows; {speeds}:",
        "  minute  log loss  read until then",
    ]
    lines += [f"{stop.minutes:8.1f}  {stop.loss:8.4f}  {stop.what}" for stop in stops if stop.known]
    further = [stop for stop in stops if not stop.known]
    if further:
        lines.append(f"{further[-1].minutes:8.1f}  not known  {len(further)} more orders by models of other folds")
    return "\n".join(lines)


def load_seconds(weights: float) -> float:
    """An upper guess of the seconds to load a model of so many bytes."""
    return _BESIDE + weights / SLOWEST_DISK
