from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from transformers import AutoTokenizer

from battles.errors import BadInput
from battles.schema import TEXTS, to_json
from battles.swap import swap_battles
from models.transformer.data.tokenization import MARK, encode
from models.transformer.settings import Template
from models.transformer.tiny_backbone import train_tokenizer
from tests.models.transformer.checkpoints import battles, settings


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer") / "llama"
    texts = ["User: Response A: Response B: Which response is better? … " + text for text in battles()["response_a"]]
    train_tokenizer(iter(texts), 400, "llama").save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def _table(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        [[to_json([text]) for text in row] for row in rows], columns=["prompt", "response_a", "response_b"]
    )


def test_short_battles_are_read_whole_in_the_templates_order(tokenizer: Any) -> None:
    template = Template(prompt="User: ", first="\n\nResponse A: ", second="\n\nResponse B: ", end="\n\nWhich?")
    encoded = encode(tokenizer, _table(("one", "two", "three")), settings(Path("llama"), template=template))
    text = "User: one\n\nResponse A: two\n\nResponse B: three\n\nWhich?"
    swapped = "User: one\n\nResponse A: three\n\nResponse B: two\n\nWhich?"
    plain = encoded.sequence(0, False)
    assert plain[0] == tokenizer.bos_token_id
    assert tokenizer.decode(plain[1:]) == text
    assert tokenizer.decode(encoded.sequence(0, True)[1:]) == swapped
    assert encoded.lengths[0] == len(plain) == len(encoded.sequence(0, True))


def test_swapping_is_what_encoding_the_exchanged_battles_gives(tokenizer: Any) -> None:
    base = settings(Path("llama"), max_length=90)
    plain, exchanged = (encode(tokenizer, table, base) for table in (battles(), swap_battles(battles())))
    for row in range(len(plain)):
        assert np.array_equal(plain.sequence(row, True), exchanged.sequence(row, False))


def test_the_length_is_kept_and_no_part_is_squeezed_out(tokenizer: Any) -> None:
    long, short = "very long text " * 200, "short"
    rows = [(long, long, long), (long, short, short), (short, long, short), (short, short, long)]
    encoded = encode(tokenizer, _table(*rows), settings(Path("llama"), max_length=128))
    assert encoded.lengths.max() <= 128
    assert encoded.lengths.min() >= 126  # a token or two of rounding
    assert [len(encoded.sequence(row, False)) for row in range(4)] == encoded.lengths.tolist()
    around = sum(len(piece) for piece in encoded.frame)
    prompt, a, b = (len(piece[0]) for piece in encoded.pieces)
    assert abs(prompt - 0.2 * (128 - around)) <= 2
    assert abs(a - b) <= 1
    whole = tokenizer(short, add_special_tokens=False)["input_ids"]
    assert encoded.pieces[1][1].tolist() == encoded.pieces[2][1].tolist() == whole


def test_a_cut_is_marked_and_keeps_beginning_and_end(tokenizer: Any) -> None:
    text = "beginning " + "middle " * 300 + "ending"
    encoded = encode(tokenizer, _table(("q", text, "x")), settings(Path("llama"), max_length=80))
    kept = tokenizer.decode(encoded.pieces[1][0])
    assert kept.startswith("beginning middle")
    assert kept.endswith("ending")
    assert MARK.strip() in kept


def test_a_huge_response_costs_no_more_than_what_fits(tokenizer: Any) -> None:
    huge = "a word and another " * 20_000
    encoded = encode(tokenizer, _table(("q", huge, huge + "the end")), settings(Path("llama"), max_length=96))
    assert encoded.lengths[0] <= 96
    assert tokenizer.decode(encoded.pieces[2][0]).endswith("the end")


def test_lone_surrogates_empty_and_null_turns_are_read(tokenizer: Any) -> None:
    table = pd.DataFrame(
        {"prompt": [to_json(["half \ud83d", None])], "response_a": [to_json([])], "response_b": [to_json(["", "x"])]}
    )
    encoded = encode(tokenizer, table, settings(Path("llama")))
    assert len(encoded.pieces[1][0]) == 0
    assert encoded.lengths[0] == len(encoded.sequence(0, False))


def test_no_battles_are_no_tokens(tokenizer: Any) -> None:
    assert len(encode(tokenizer, battles().iloc[:0], settings(Path("llama")))) == 0


def test_a_length_that_only_the_template_fits_is_refused(tokenizer: Any) -> None:
    with pytest.raises(BadInput, match=r"max_length: 24 leaves -?\d+ tokens .* set it to \d+ or more"):
        encode(tokenizer, battles(), settings(Path("llama"), max_length=24))


INTERLEAVED = Template(
    prompt="User:\n", first="\n\nA:\n", second="\n\nB:\n", end="\n\nWhich?", turns="interleaved", between="\n--\n"
)


def _turns(*rows: tuple[list[str | None], list[str | None], list[str | None]]) -> pd.DataFrame:
    return pd.DataFrame(
        [[to_json(cell) for cell in row] for row in rows], columns=["prompt", "response_a", "response_b"]
    )


def test_interleaved_turns_are_read_one_after_the_other(tokenizer: Any) -> None:
    table = _turns((["one", "two"], ["first a", None], ["first b", "second b"]), (["only"], ["x"], ["y"]))
    encoded = encode(tokenizer, table, settings(Path("llama"), max_length=190, template=INTERLEAVED))
    read = "User:\none\n\nA:\n{}\n\nB:\n{}\n--\nUser:\ntwo\n\nA:\n{}\n\nB:\n{}\n\nWhich?"
    plain, swapped = (encoded.sequence(0, flag) for flag in (False, True))
    assert tokenizer.decode(plain[1:]) == read.format("first a", "first b", "", "second b")
    assert tokenizer.decode(swapped[1:]) == read.format("first b", "first a", "second b", "")
    assert tokenizer.decode(encoded.sequence(1, True)[1:]) == "User:\nonly\n\nA:\ny\n\nB:\nx\n\nWhich?"
    assert [len(encoded.sequence(row, True)) for row in range(2)] == encoded.lengths.tolist()
    again = encoded.rows(np.array([1, 0, 0]))
    assert np.array_equal(again.sequence(1, True), swapped)


def _random_turns(turns: list[int]) -> pd.DataFrame:
    """Battles of so many turns with texts of 0 to 90 words."""
    draw = np.random.default_rng(5)

    def words(count: int) -> list[str | None]:
        return [
            " ".join(draw.choice(["alpha", "beta", "gamma", "of", "it"], draw.integers(0, 90))) for _ in range(count)
        ]

    return _turns(*((words(count), words(count), words(count)) for count in turns))


@pytest.mark.parametrize("turns", ["joined", "interleaved"])
@pytest.mark.parametrize("truncation", ["middle", "left", "right", "proportional"])
def test_every_layout_and_truncation_keeps_the_length_and_does_not_look_at_the_places(
    tokenizer: Any, turns: str, truncation: str
) -> None:
    table = pd.concat([_random_turns([1, 1, 2, 2, 3, 4, 9, 30]), battles()[list(TEXTS)].head(20)], ignore_index=True)
    template = INTERLEAVED.model_copy(update={"turns": turns})
    base = settings(Path("llama"), max_length=150, template=template, truncation=truncation)
    whole = encode(tokenizer, table, base.model_copy(update={"max_length": 100_000}))
    plain, exchanged = (encode(tokenizer, battles, base) for battles in (table, swap_battles(table)))
    kept_turns = np.array([1 if plain.turns is None else len(plain.turns[row]) for row in range(len(table))])
    all_turns = np.array([1 if whole.turns is None else len(whole.turns[row]) for row in range(len(table))])
    for row in range(len(table)):
        assert np.array_equal(plain.sequence(row, True), exchanged.sequence(row, False))
        assert len(plain.sequence(row, False)) == plain.lengths[row]
    short = whole.lengths <= 150
    assert short.any()
    assert all(np.array_equal(plain.sequence(row, False), whole.sequence(row, False)) for row in np.flatnonzero(short))
    assert plain.lengths.max() <= 150
    unused = 150 - plain.lengths[~short & (kept_turns == all_turns)]
    assert unused.max() <= (0 if truncation == "proportional" else 3 * kept_turns.max() - 1)
    if turns == "interleaved":
        assert kept_turns[7] < 30  # what is left of 30 turns would be too little of each
        assert plain.turns is not None
        assert plain.turns[6].sum(axis=0).tolist() == [len(piece[6]) for piece in plain.pieces]


def test_proportional_truncation_keeps_the_same_share_of_prompt_and_responses(tokenizer: Any) -> None:
    words = [" ".join(["alpha"] * count) for count in (40, 160, 200)]
    base = settings(Path("llama"), max_length=120, truncation="proportional", prompt_share=0.9)
    table = _table((words[0], words[1], words[2]))
    whole = encode(tokenizer, table, base.model_copy(update={"max_length": 100_000}))
    found = encode(tokenizer, table, base)
    assert found.lengths.tolist() == [120]
    before, after = (np.array([len(piece[0]) for piece in one.pieces]) for one in (whole, found))
    assert (np.abs(after - before * after.sum() / before.sum()) < 1).all()
    assert MARK.strip() in tokenizer.decode(found.pieces[2][0])
