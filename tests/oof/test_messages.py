from oof.messages import LONGEST, shown


def test_a_value_is_shown_on_one_printable_line() -> None:
    assert shown("plain é 模") == "plain é 模"
    assert shown(0.5) == "0.5"
    assert shown(b"1") == "b'1'"
    odd = shown("two\nlines\t\x1b[31m \u202e \ud800 \x00")
    assert odd.isprintable()
    assert odd.startswith("two\\nlines\\t\\x1b[31m")


def test_a_long_value_is_cut() -> None:
    assert shown("x" * LONGEST) == "x" * LONGEST
    assert shown("x" * 5_000_000) == "x" * (LONGEST - 1) + "…"
    assert len(shown("\n" * 5_000_000)) <= 2 * LONGEST
