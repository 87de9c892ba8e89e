import pickle

from battles.errors import BadInput


def test_a_refusal_is_one_line() -> None:
    assert str(BadInput("a\nb\r\nc\u2028d")) == "a b c d"


def test_a_long_refusal_keeps_its_beginning_and_its_end() -> None:
    line = str(BadInput(f"TRAIN: {'x' * 5_000_000}; give another"))
    assert line.startswith("TRAIN: xxx")
    assert "... (5,000,021 characters) ..." in line
    assert line.endswith("; give another")
    assert len(line) < 1000
    assert str(BadInput(line)) == line


def test_a_refusal_survives_the_way_from_a_worker() -> None:
    refusal = BadInput("TRAIN: no such file")
    assert str(pickle.loads(pickle.dumps(refusal))) == str(refusal)
