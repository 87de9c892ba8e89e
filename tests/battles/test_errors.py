import pickle

from battles.errors import LONGEST_VALUE, BadInput, plain


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


def test_a_value_is_shown_on_one_printable_line() -> None:
    assert plain("plain é 模") == "plain é 模"
    assert plain(0.5) == "0.5"
    assert plain(b"1") == "b'1'"
    odd = plain("two\nlines\t\x1b[31m \u202e \ud800 \x00")
    assert odd.isprintable()
    assert odd.startswith("two\\nlines\\t\\x1b[31m")


def test_a_long_value_is_cut() -> None:
    assert plain("x" * LONGEST_VALUE) == "x" * LONGEST_VALUE
    assert plain("x" * 5_000_000) == "x" * (LONGEST_VALUE - 1) + "…"
    assert len(plain("\n" * 5_000_000)) <= 2 * LONGEST_VALUE
