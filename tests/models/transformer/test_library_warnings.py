"""What is set before torch is imported."""

import os

import pytest

from models.transformer.library_warnings import quiet

ALLOCATOR, FORMER = "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"


def test_the_allocator_of_cards_extends_its_segments_unless_it_is_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(ALLOCATOR, raising=False)
    monkeypatch.setenv(FORMER, "max_split_size_mb:64")
    quiet()
    assert ALLOCATOR not in os.environ
    monkeypatch.delenv(FORMER)
    quiet()
    assert os.environ[ALLOCATOR] == "expandable_segments:True"
    monkeypatch.setenv(ALLOCATOR, "max_split_size_mb:64")
    quiet()
    assert os.environ[ALLOCATOR] == "max_split_size_mb:64"
