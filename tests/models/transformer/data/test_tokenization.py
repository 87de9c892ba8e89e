from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from transformers import AutoTokenizer

from battles.errors import BadInput
from battles.schema import to_json
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
