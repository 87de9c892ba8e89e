"""Reading user battles, whatever their format: through one validator into the battles table."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from battles.checks import (
    TEST_COLUMNS,
    TRAINING_COLUMNS,
    RowError,
    are_float_ids,
    check_id,
    check_model,
    check_shares,
    check_text,
    check_votes,
)
from battles.errors import BadInput, shown
from battles.formats import AUTO, Format, check_name, find, missing
from battles.raw_rows import Count, Row, files_of, raw_rows
from battles.schema import ID, MODELS, TEXTS, WINNERS


def read_battles(
    path: str | Path, voted: bool, soft: bool = False, format: str = AUTO, count: Count = lambda size: None
) -> pd.DataFrame:
    """The battles table (`battles.schema`) of a user's file, or of a folder of files, in their order.

    `voted` asks for a training file; with `soft` its winners may be probabilities (float64). A test file needs ids and
    texts; its model names are kept when it has both columns, its winners are never read. Other columns are dropped.
    `format` is a name of `battles.formats`. Texts are kept exactly; ids are kept as text. `count` is told of the bytes
    that were read. Raises BadInput, in one line that names file, row (the first battle is row 1), id, column, value and
    fix, for anything that is not a valid battle.
    """
    check_name(format)
    table = _Table(voted, soft, format)
    for file in files_of(Path(path)):
        table.add(str(file), raw_rows(file, table.select(str(file)), count))
    return table.finished(str(path))


def battles_of(rows: Iterable[Row], source: str, voted: bool = False, format: str = AUTO) -> pd.DataFrame:
    """`read_battles` for rows that are there already, as a frame's or a stream's; `source` names them in refusals.

    The columns are those of the first row.
    """
    check_name(format)
    table = _Table(voted, False, format)
    select = table.select(source)

    def checked() -> Iterator[Row]:
        for number, row in enumerate(rows):
            if number == 0:
                select(list(row))
            yield row

    table.add(source, checked())
    return table.finished(source)


@dataclass
class _Table:
    """A battles table as it grows, column by column."""

    voted: bool
    soft: bool
    format: str
    kind: Format | None = None
    columns: dict[str, list[Any]] = field(default_factory=dict)
    first_row: dict[str, tuple[str, int]] = field(default_factory=dict)

    def select(self, source: str) -> Any:
        """The function that settles a file's format by its columns and returns those to read."""

        def selected(names: Sequence[str]) -> Sequence[str]:
            self.kind = find(self.format, names)
            problem = missing(self.kind, names, self.voted)
            if problem:
                raise BadInput(f"{source}: {problem}")
            return self.kind.wanted(names, self.voted)

        return selected

    def add(self, source: str, rows: Iterable[Row]) -> None:
        """Adds the rows of one file; raises BadInput for one that is no valid battle."""
        named_models = False
        for number, raw in enumerate(rows, 1):
            if number == 1:
                named_models = all(name in raw for name in MODELS)
            try:
                checked = self._checked(raw, number, named_models)
            except RowError as problem:
                named = next((raw[name] for name in (ID, "question_id") if raw.get(name) not in (None, "")), None)
                said = "" if named is None else f", id {shown(named, 40)}"
                raise BadInput(f"{source}: row {number}{said}, {problem}{self._hint(number, problem)}") from None
            earlier, row = self.first_row.setdefault(checked[ID], (source, number))
            if (earlier, row) != (source, number):
                where = f"row {row}" if earlier == source else f"row {row} of {earlier}"
                raise BadInput(
                    f"{source}: row {number}, id {shown(checked[ID], 40)}, column {ID}: {where} has the same id; "
                    "give every battle its own"
                )
            for name, value in checked.items():
                self.columns.setdefault(name, []).append(value)

    def _checked(self, raw: Row, number: int, named_models: bool) -> Row:
        """A row of the battles table from a raw row. Raises RowError."""
        assert self.kind is not None  # `select` was called with the columns before any row was read
        try:
            row = self.kind.convert(raw, number, self.voted)
        except KeyError as error:
            raise RowError(str(error.args[0]), "missing in this row; every row needs it") from None
        checked: Row = {ID: check_id(row.get(ID))}
        for name in TRAINING_COLUMNS if self.voted else TEST_COLUMNS:
            if name not in row:
                raise RowError(name, "missing in this row; every row needs it")
        if named_models:
            checked |= {name: check_model(name, row.get(name)) for name in MODELS}
        checked |= {name: check_text(name, row[name]) for name in TEXTS}
        if self.voted:
            checked |= dict(zip(WINNERS, check_shares(row) if self.soft else check_votes(row), strict=True))
        return checked

    def _hint(self, number: int, problem: RowError) -> str:
        """What a file of plain texts without votes needs: nothing but its columns' names could tell it apart."""
        plain = self.format == AUTO and not self.voted and number == 1 and problem.column in TEXTS
        return "; texts that are no lists: FORMAT=wsdm" if plain else ""

    def finished(self, source: str) -> pd.DataFrame:
        """The table of all rows; raises BadInput where there is none."""
        if not self.first_row:
            raise BadInput(f"{source}: no battles, only a header or blank lines; give a file with at least one row")
        columns = self.columns
        if are_float_ids(columns[ID]):
            raise BadInput(
                f"{source}: row 1, id {shown(columns[ID][0], 40)}, column {ID}: every id is a whole number with a "
                "decimal point, so a program has turned integers into floats; write the ids as integers"
            )
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            raise BadInput(f"{source}: only some of its files name the models; give all of them {' and '.join(MODELS)}")
        # Column by column, so that the Python strings of a big file are let go as their Arrow copy is made.
        winners = "float64" if self.soft else "int8"
        types = {name: winners if name in WINNERS else "str" for name in columns}
        return pd.DataFrame({name: pd.Series(columns.pop(name), dtype=types[name]) for name in types})
