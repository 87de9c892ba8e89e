"""What docs/robustness.md says was tried is what this folder tries."""

import re
from pathlib import Path

from tests.robustness.corpus import battle_files
from tests.robustness.corpus_settings import BAD_FILES, BAD_WORDS, GOOD_FILES, GOOD_WORDS
from tests.robustness.corpus_tables import tables
from tests.robustness.test_corpus_settings import VARIABLES as BAD_VARIABLES
from tests.robustness.test_variables import PAYLOADS

PAGE = Path(__file__).parents[2] / "docs" / "robustness.md"


def test_the_page_states_the_counts_of_the_corpus() -> None:
    settings = len(BAD_WORDS) + len(GOOD_WORDS) + len(BAD_FILES) + len(GOOD_FILES) + len(BAD_VARIABLES)
    tried = (
        f"{len(battle_files())} files of battles, {len(tables())} tables and {settings} settings, files and variables, "
        f"good and bad; {len(PAYLOADS)} hostile values in every variable of make"
    )
    print(tried)
    text = re.sub(r"\s+", " ", PAGE.read_text(encoding="utf-8"))
    assert tried in text
