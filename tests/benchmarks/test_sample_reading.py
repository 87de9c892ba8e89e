import numpy as np
import pytest

from battles.sample import generate
from battles.schema import TEXTS, WINNERS
from battles.settings import Sample
from benchmarks.sample_reading import TURNED, deciding, reader

SEED = 4


@pytest.mark.parametrize(
    ("what", "texts", "turned"),
    [
        (
            "who outdoes whom",
            ("", "Sure! The a outdoes the b. In time.", ""),
            ("", "Sure! The b outdoes the a. In time.", ""),
        ),
        ("a plant is ruled out", ("", "", "Not the a."), ("", "", "It is the a.")),
        ("asked is what kills", ("What kills a cow?", "", ""), ("What heals a cow?", "", "")),
    ],
)
def test_what_is_to_be_read_is_turned_round(what: str, texts: tuple[str, ...], turned: tuple[str, ...]) -> None:
    for name, turn in TURNED.items():
        assert turn(texts) == (turned if name == what else texts)  # type: ignore[arg-type]


def test_the_better_response_is_the_truths_favourite_and_hangs_on_what_is_read() -> None:
    data = generate(Sample(train=3000, test=10, seed=SEED))
    battles, truth = data.train, data.truth[list(WINNERS)].to_numpy()
    found = deciding(battles, reader(SEED))
    assert [*found] == [*TURNED]
    for what, better in found.items():
        rows = np.flatnonzero(better >= 0)
        assert len(rows) > 8
        assert (better[rows] == truth[rows, :2].argmax(axis=1)).all()
        for row in rows:
            texts = tuple(battles.loc[row, name] for name in TEXTS)
            after = reader(SEED)(TURNED[what](texts))
            assert after[:2].argmax() != better[row]


def test_the_reader_finds_the_true_probabilities() -> None:
    data = generate(Sample(train=200, test=10, seed=SEED))
    truth_of = reader(SEED)
    found = [truth_of(texts) for texts in data.train[list(TEXTS)].itertuples(index=False, name=None)]
    np.testing.assert_allclose(found, data.truth.loc[: len(found) - 1, list(WINNERS)].to_numpy())
