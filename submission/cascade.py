"""Predictions under a clock: a valid file within minutes, and a better one for as long as there is time.

The first file holds the shares of the votes, the second what needs no language model. Then comes whatever gains the
most log loss per second, as the out-of-fold rows tell it: a further language model over all battles, or the second
order of one that has read the first (swap TTA). Where not all battles can be read in time, the most uncertain ones
are: for a further model those of the highest entropy, for the second order those of the smallest margin. Last come the
models of the other folds. Speeds are measured as batches are read; nothing begins that would not end in time.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.stacking.subsets import Subsets
from oof.crossfit import mean_of_models
from oof.model_store import Variants
from oof.table import MEAN, PLAIN, SWAPPED
from submission.forecast import Gains, Key, Stage, describe, forecast
from submission.paces import Paces, Reader

# Battles read at a time where not all can be: enough that sorting by length leaves little padding.
CHUNK = 512
# Battles for which there must be time, or a stage does not begin.
FEWEST = 64
# Share of the tokens after which a pace is taken for that of the whole, and share by which it may be too slow still.
PROBE, SLACK = 0.02, 1.02
# Times the longest batch so far that must be left before another one begins.
LONGEST = 1.5
# What is waited for at the least before the end, in seconds: writing may be slow once.
MARGIN = 2.0

Clock = Callable[[], float]


@dataclass
class Cascade:
    """The state of a prediction of n battles under a clock.

    readers: late base → its saved models. combine: stacks what there is, base → variants with NaN rows, to (n, 3).
    publish: writes a valid file. end: the time, by `clock`, that must not be passed. second_order: bases with swap TTA.
    failed: is told of a stage whose base is then left out, and why.
    """

    readers: Mapping[str, Sequence[Reader]]
    subsets: Subsets
    combine: Callable[[Mapping[str, Variants]], np.ndarray]
    publish: Callable[[np.ndarray], None]
    end: float
    second_order: frozenset[str]
    clock: Clock = time.monotonic
    say: Callable[[str], None] = print
    failed: Callable[[str, Exception], None] = lambda stage, error: print(f"{stage}: left out: {error}")
    _orders: dict[Key, np.ndarray] = field(default_factory=dict)
    _paces: Paces = field(init=False)
    _failed: set[str] = field(default_factory=set)
    _loaded: tuple[str, int] | None = None
    _current: np.ndarray = field(default_factory=lambda: np.empty((0, 3)))
    _finish: float = 0.0

    def __post_init__(self) -> None:
        self._paces = Paces(self.readers, self.subsets.seconds)

    def run(self) -> np.ndarray:
        """Publishes better and better predictions until all is read or the time is over; returns the last ones."""
        began = self.clock()
        self._publish()
        self.say(self.forecast())
        while (stage := self._next()) is not None:
            measured = self._paces.measured
            try:
                read = self._read(stage)
            except Exception as error:  # of the model, of its card, of what the image lacks: the others go on
                self._failed.add(stage.base)
                if not np.isfinite(self._orders[stage.key]).any():
                    del self._orders[stage.key]
                self.failed(str(stage), error)
                continue
            if read:
                self._publish()
            expected = self._expected()
            told = f", expected log loss {expected:.4f}" if math.isfinite(expected) else ""
            self.say(f"{(self.clock() - began) / 60:6.1f} min: {stage}: {read} battles{told}")
            if not measured and self._next() is not None:
                self.say(self.forecast())
        self._close()
        return self._current

    def forecast(self) -> str:
        """What is expected from now on, as a table by minute."""
        speeds = "seconds as measured here" if self._paces.measured else "seconds as the out-of-fold rows took"
        stops = forecast(
            self._gains,
            self._load_seconds,
            lambda stage: self._paces.to_read(stage, self._rows(stage)),
            self._left(),
            self._orders,
        )
        return describe(stops, len(self._current), speeds)

    # ------------------------------------------------------------ what comes next

    @property
    def _gains(self) -> Gains:
        models = {base: len(models) for base, models in self.readers.items() if base not in self._failed}
        return Gains(self.subsets, models, self.second_order)

    def _next(self) -> Stage | None:
        """The stage of the most gain per second of those that can begin; None when there is none."""
        left = self._left()
        return self._gains.best(
            self._orders,
            lambda stage: self._seconds(stage, self._rows(stage)),
            lambda stage: self._seconds(stage, self._rows(stage)[:FEWEST]) < left,
        )

    def _expected(self) -> float:
        """The log loss that is expected of what is read now, where only part of the battles is in between."""
        whole = {key for key, values in self._orders.items() if key[1] == 0 and np.isfinite(values).all()}
        loss = self._gains.loss(whole)
        for key, values in self._orders.items():
            if key[1] == 0 and key not in whole:
                share = float(np.isfinite(values).all(axis=1).mean())
                loss += share * (self._gains.loss(whole | {key}) - loss)
        return loss

    # ------------------------------------------------------------ time

    def _left(self) -> float:
        """Seconds in which models may still read: the last file takes some of those until the end."""
        return self.end - self.clock() - 2 * self._finish - MARGIN

    def _load_seconds(self, stage: Stage) -> float:
        return 0.0 if self._loaded == (stage.base, stage.number) else self._paces.to_load(stage)

    def _seconds(self, stage: Stage, rows: np.ndarray) -> float:
        """Seconds that a stage would take for these battles, the loading of its model included."""
        return self._load_seconds(stage) + self._paces.to_read(stage, rows)

    # ------------------------------------------------------------ reading

    def _rows(self, stage: Stage) -> np.ndarray:
        """The battles that a stage is for: a second order only where the first was read."""
        first = self._orders.get((stage.base, stage.number, False))
        if stage.swapped and first is not None:
            return np.flatnonzero(np.isfinite(first).all(axis=1))
        return np.arange(len(self.readers[stage.base][stage.number].tokens))

    def _read(self, stage: Stage) -> int:
        """Reads as many battles as there is time for, and returns their number."""
        reader, rows = self.readers[stage.base][stage.number], self._rows(stage)
        values = np.full((len(reader.tokens), 3), np.nan)
        self._orders[stage.key] = values
        self._load(stage, reader)
        pace = self._paces[stage.base].token
        if pace is None or pace * float(reader.tokens[rows].sum()) * SLACK <= self._left():
            values[rows] = self._read_rows(stage, reader, rows, whole=True)
        missing = rows[np.isnan(values[rows]).any(axis=1)]
        for part in self._by_need(stage, missing):
            if self._left() <= 0:
                break
            values[part] = self._read_rows(stage, reader, part, whole=False)
        return int(np.isfinite(values).all(axis=1).sum())

    def _load(self, stage: Stage, reader: Reader) -> None:
        if self._loaded == (stage.base, stage.number):
            return
        self._close()
        began = self.clock()
        self._loaded = (stage.base, stage.number)
        reader.load()
        self._paces[stage.base].load = max(self.clock() - began, self._paces[stage.base].load)

    def _close(self) -> None:
        if self._loaded is not None:
            base, number = self._loaded
            self._loaded = None
            self.readers[base][number].close()

    def _read_rows(self, stage: Stage, reader: Reader, rows: np.ndarray, whole: bool) -> np.ndarray:
        """Probabilities of these battles, NaN where the time was over, or where not the `whole` of them can be read."""
        lengths = np.sort(reader.tokens[rows])[::-1]
        read_tokens = np.concatenate([[0], np.cumsum(lengths)])
        began = last = self.clock()
        done, stopped, known = 0, False, self._paces[stage.base]
        # A batch began when the one before it ended, of those that are read at the same time.
        ended = deque([began] * reader.at_once, maxlen=reader.at_once)

        def advance(battles: int) -> None:
            nonlocal done, last
            now = self.clock()
            known.batch = max(known.batch, now - ended[0])
            ended.append(now)
            done, last = done + battles, now

        def stop() -> bool:
            nonlocal stopped
            left = self._left()
            stopped = stopped or left <= LONGEST * known.batch
            if whole and not stopped and read_tokens[done] > PROBE * read_tokens[-1]:
                pace = (self.clock() - began) / read_tokens[done]
                stopped = pace * (read_tokens[-1] - read_tokens[done]) > SLACK * left
            return stopped

        values = reader.read(rows, stage.swapped, advance, stop)
        if read_tokens[done]:
            known.token = (last - began) / float(read_tokens[done])
        return values

    def _by_need(self, stage: Stage, rows: np.ndarray) -> list[np.ndarray]:
        """Battles in chunks, those first that a stage can change most."""
        now = self._current[rows]
        if stage.swapped:
            ranked = np.sort(now, axis=1)
            order = np.argsort(ranked[:, -1] - ranked[:, -2], kind="stable")
        else:
            order = np.argsort((now * np.log(np.maximum(now, 1e-12))).sum(axis=1), kind="stable")
        return [rows[order[begin : begin + CHUNK]] for begin in range(0, len(rows), CHUNK)]

    # ------------------------------------------------------------ files

    def _publish(self) -> None:
        began = self.clock()
        self._current = self.combine(self.variants())
        self.publish(self._current)
        self._finish = max(self._finish, self.clock() - began)

    def variants(self) -> dict[str, Variants]:
        """What the late bases have read: the mean over their models, NaN where none has read a battle."""
        result = {}
        for base, models in self.readers.items():
            parts = [
                self._model(base, number) for number in range(len(models)) if (base, number, False) in self._orders
            ]
            if parts:
                result[base] = mean_of_models(parts)
        return result

    def _model(self, base: str, number: int) -> Variants:
        plain = self._orders[(base, number, False)]
        if base not in self.second_order:
            return {MEAN: plain}
        swapped = self._orders.get((base, number, True), np.full_like(plain, np.nan))
        mean = np.where(np.isnan(swapped), plain, (plain + swapped) / 2)
        return {MEAN: mean, PLAIN: plain, SWAPPED: swapped}
