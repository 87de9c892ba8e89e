"""A version of every step's code, part of what its files depend on.

Raise a step's number when its code gives other results for the same input: files of an earlier version are made again
then, and finished models are refused until AGAIN=1. `tests/stages/test_versions.py` notices changed code.
"""

VERSIONS = {
    "sample": 1,
    "prepare": 1,
    "features": 1,
    "tiny": 1,
    "transformer": 1,
    "tfidf": 1,
    "stack": 1,
}
