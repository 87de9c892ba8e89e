"""What the families measure, on texts whose values are known or counted the slow way."""

import re

import numpy as np
import pytest

from features import length, position, similarity, verbosity
from features.text import Text, parse
from tests.features.battles import ODD


def lengths(text: str) -> dict[str, float]:
    return dict(zip(length.COUNTS, length.counts(parse([text])), strict=True))


def style(*turns: str) -> dict[str, float]:
    return dict(zip(verbosity.RATIOS, verbosity.ratios(parse(list(turns))), strict=True))


def pair(a: str, b: str) -> dict[str, float]:
    return dict(zip(similarity.PAIR, similarity.pair(parse([a]), parse([b])), strict=True))


def test_lengths() -> None:
    found = lengths("One two, three.\n\nFour five?")
    assert found["chars"] == 27
    assert found["words"] == 5
    assert found["lines"] == 2
    assert found["turns"] == 1
    assert found["last_line"] == len("Four five?")
    two = dict(zip(length.COUNTS, length.counts(parse(["first", None, "last one"])), strict=True))
    assert (two["turns"], two["empty_turns"], two["first_turn_chars"], two["last_turn_chars"]) == (3, 1, 5, 8)


def test_words_are_those_of_a_regular_expression() -> None:
    text = "It's a TEST: don't split_me, but(do)this; 12.5% — naïve café"
    slow = re.findall(r"[\w'—]+", text.lower())
    assert [word.decode() for word in parse([text]).words] == slow


def test_distinct_bigrams_are_counted() -> None:
    text = parse(["a b a b a c"])
    pairs = set(zip(text.words, text.words[1:], strict=False))
    assert len(text.bigrams) == len(pairs) == 3
    assert len(parse(["one"]).bigrams) == len(parse([""]).bigrams) == 0


@pytest.mark.parametrize(
    ("column", "with_it", "without"),
    [
        ("bullets", "- a\n- b", "a\nb"),
        ("numbered", "1. a\n2) b", "a\nb"),
        ("headings", "# a\ntext", "a\ntext"),
        ("table_rows", "|a|b|\n|1|2|", "a b\n1 2"),
        ("code_fences", "```\nx\n```", "x"),
        ("code_lines", "```\nx\ny\n```", "x\ny"),
        ("bold", "**very** good", "very good"),
        ("hedge", "perhaps it may be", "it surely is so"),
        ("filler", "actually it is really so", "it is so"),
        ("apology", "sorry about that one", "glad about that one"),
        ("refusal", "I cannot do that", "I did that"),
        ("machine", "As an AI, I think", "As a cook, I think"),
        ("closer", "So it is. Let me know!", "So it is. The end!"),
        ("opens_like_chat", "Sure! Here it is", "Paris is big"),
        ("ends_with_question", "Is it?", "It is."),
        ("emoji", "fine 🎉", "fine"),
        ("repeated_bigrams", "go on and go on and go on", "go on and never come back to me"),
        ("repeated_lines", "same\nsame\nsame", "one\ntwo\nthree"),
    ],
)
def test_style_is_seen(column: str, with_it: str, without: str) -> None:
    assert style(with_it)[column] > style(without)[column]


def test_repetition_compresses_and_has_few_types() -> None:
    dull, varied = style("the same words " * 40), style(" ".join(f"word{number * 7919}" for number in range(120)))
    assert dull["compressed"] < varied["compressed"]
    assert dull["type_token"] < varied["type_token"]


def test_code_is_not_taken_for_headings_or_bullets() -> None:
    found = style("```\n# comment\n- minus\n```")
    assert found["headings"] == found["bullets"] == 0


def test_similarity_is_jaccard_of_words_and_bigrams() -> None:
    found = pair("a b c d", "c d e")
    assert found["shared_words"] == pytest.approx(2 / 5)
    assert found["shared_bigrams"] == pytest.approx(1 / 4)
    assert found["covered_words"] == pytest.approx(2 / 3)
    assert found["identical"] == 0


def test_shared_characters_are_the_cosine_of_hashed_four_grams() -> None:
    same, other = pair("a fine sentence", "a fine sentence"), pair("a fine sentence", "QQQQ ZZZZ")
    assert same["shared_chars"] == pytest.approx(1, abs=1e-6)
    assert other["shared_chars"] < 0.3


def test_common_start() -> None:
    assert pair("hello there", "hello world")["shared_start"] == pytest.approx(6 / 400)
    assert pair("", "x")["shared_start"] == 0


def test_another_language_than_the_prompts_is_a_gap() -> None:
    asked = position.Asked.of(parse(["Привет, как дела?"]))
    gap = position.AGREEMENT.index("language_gap")
    assert position.agreement(parse(["Хорошо, спасибо"]), asked)[gap] == pytest.approx(0)
    assert position.agreement(parse(["I am fine"]), asked)[gap] == pytest.approx(1)


def test_who_is_longer_where() -> None:
    a, b = parse(["long first turn", "x"]), parse(["short", "long last turn"])
    found = dict(zip(position.PLACE, position.place(a, b), strict=True))
    assert (found["longer_first_turn"], found["longer_last_turn"]) == (1, -1)


@pytest.mark.parametrize("turns", ODD, ids=range(len(ODD)))
def test_every_family_takes_odd_texts(turns: list[str | None]) -> None:
    text: Text = parse(turns)
    asked = position.Asked.of(text)
    found = [
        *length.counts(text),
        *verbosity.ratios(text),
        *position.prompt(text),
        *position.agreement(text, asked),
        *similarity.pair(text, text),
        *similarity.to_prompt(text, text),
    ]
    assert np.isfinite(found).all()
    assert min(length.counts(text)) >= 0
