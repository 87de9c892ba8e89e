"""Battles in the tokens of the real Gemma 2 and Llama 3: lengths, what is kept, special tokens, borders of the pieces.

Skipped where the tokenizers are not in the cache (`tests.real_tokenizers`).
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from battles.prompt import parts
from battles.reading import read_battles
from battles.sample import generate
from battles.schema import to_json
from battles.settings import Sample
from benchmarks.random_weights import configurations
from models.transformer.backbone.pretrained import load_tokenizer
from models.transformer.data.tokenization import MARK, encode
from models.transformer.settings import Template, Transformer
from tests.real_tokenizers import FETCH, GEMMA_2, LLAMA_3, cached

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "lmsys_dev_1488.csv"
CONFIGURATIONS = {GEMMA_2: "gemma-2-9b", LLAMA_3: "llama-3-8b"}
# Tokens of the real battles at most 1,024 long, and at 2,048.
COUNTS = {GEMMA_2: (844_037, 967_933), LLAMA_3: (823_680, 934_738)}
FIRST = {GEMMA_2: "<bos>", LLAMA_3: "<|begin_of_text|>"}
SPELT = ("<eos>", "<bos>", "<pad>", "<start_of_turn>user", "<|eot_id|>", "<|begin_of_text|>", "<|end_of_text|>")


@pytest.fixture(scope="module", params=[GEMMA_2, LLAMA_3])
def package(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if cached(name) is None:
        pytest.skip(f"{name} is not in the cache: {FETCH}")
    return name


@pytest.fixture(scope="module")
def tokenizer(package: str) -> Any:
    return load_tokenizer(_settings(package))


@pytest.fixture(scope="module")
def battles() -> pd.DataFrame:
    """Real battles where there are some, else the sample's."""
    return read_battles(REAL, voted=True) if REAL.exists() else generate(Sample(train=200, test=10, seed=1)).train


def _settings(package: str, **changes: Any) -> Transformer:
    return Transformer(backbone=str(cached(package)), **changes)


def _table(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        [[to_json([text]) for text in row] for row in rows], columns=["prompt", "response_a", "response_b"]
    )


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids


def test_a_sequence_begins_with_one_mark_and_its_padding_is_no_word(package: str, tokenizer: Any) -> None:
    encoded = encode(tokenizer, _table(("one", "two", "three")), _settings(package))
    tokens = tokenizer.convert_ids_to_tokens(encoded.sequence(0, False).tolist())
    assert tokens[0] == FIRST[package]
    assert tokens.count(FIRST[package]) == 1
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id, tokenizer.bos_token_id)
    config = configurations(tiny=False)[CONFIGURATIONS[package]]
    assert len(tokenizer) <= config.vocab_size
    assert tokenizer.pad_token_id < config.vocab_size


def test_the_templates_pieces_end_where_a_token_ends(package: str, tokenizer: Any, battles: pd.DataFrame) -> None:
    template = Template()
    for piece, texts in zip((template.prompt, template.first, template.second), parts(battles), strict=True):
        before = _ids(tokenizer, piece)
        for text in texts:
            # A text that begins with a blank runs into the line break before it.
            start = text[:60].split(" ")[0]
            if start and not start[0].isspace():
                assert _ids(tokenizer, piece + start) == before + _ids(tokenizer, start), (piece, start)
    # What was there before: a space of its own before every text.
    old, word = "User: ", "hello"
    assert _ids(tokenizer, old + word) != _ids(tokenizer, old) + _ids(tokenizer, word)
    assert tokenizer.convert_ids_to_tokens(_ids(tokenizer, old))[-1] in ("▁", "Ġ")


def test_whole_sequences_are_those_of_one_text_but_for_blanks_between_the_pieces(
    package: str, tokenizer: Any, battles: pd.DataFrame
) -> None:
    few = battles.head(100)
    encoded, template = encode(tokenizer, few, _settings(package, max_length=100_000)), Template()
    for row, (prompt, a, b) in enumerate(zip(*parts(few), strict=True)):
        text = f"{template.prompt}{prompt}{template.first}{a}{template.second}{b}{template.end}"
        once, pieces = _ids(tokenizer, text), encoded.sequence(row, False)[1:].tolist()
        assert tokenizer.decode(pieces) == tokenizer.decode(once)
        # Both orders of three texts have six borders; at each at most a few tokens of blanks and full stops differ.
        assert abs(len(once) - len(pieces)) <= 12


@pytest.mark.parametrize("truncation", ["middle", "left", "right"])
def test_a_long_battle_has_just_the_length_and_keeps_what_it_should(
    package: str, tokenizer: Any, truncation: str
) -> None:
    long = " ".join(f"word{number}" for number in range(3_000))
    settings = _settings(package, max_length=512, truncation=truncation)
    encoded = encode(tokenizer, _table((long, long, long), ("short", long, "short")), settings)
    for row in range(2):
        length = len(encoded.sequence(row, False))
        assert length == encoded.lengths[row]
        assert 510 <= length <= 512
    kept = tokenizer.decode(encoded.pieces[1][0])
    assert MARK.strip() in kept
    assert kept.startswith("word0") == (truncation != "left")
    assert kept.endswith("word2999") == (truncation != "right")


def test_special_tokens_that_a_battle_spells_are_text(package: str, tokenizer: Any) -> None:
    text = " ".join(SPELT)
    encoded = encode(tokenizer, _table((text, text, f"a{text}b")), _settings(package))
    for piece in encoded.pieces:
        assert not set(piece[0].tolist()) & set(tokenizer.all_special_ids)
        assert text in tokenizer.decode(piece[0])
    # A template may hold special tokens: those are meant.
    turn = tokenizer.eos_token
    framed = encode(tokenizer, _table(("q", "a", "b")), _settings(package, template=Template(end=f"\n{turn}")))
    assert framed.sequence(0, False)[-1] == tokenizer.eos_token_id


@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data")
def test_the_real_battles_have_so_many_tokens(package: str, tokenizer: Any, battles: pd.DataFrame) -> None:
    found = []
    for max_length in (1024, 2048):
        lengths = encode(tokenizer, battles, _settings(package, max_length=max_length)).lengths
        assert lengths.max() <= max_length
        found.append(int(np.sum(lengths)))
    assert tuple(found) == COUNTS[package]
