"""The measurement trains the micro-batches that the plan computes."""

from pathlib import Path

from benchmarks.host_memory import BATTLES, CASES, CPU, Case, _battles, _settings, measure
from models.transformer.backbone.device import device_spec
from models.transformer.backbone.loading import load
from models.transformer.backbone.pretrained import load_config
from models.transformer.data.batching import batches
from models.transformer.planning import memory
from models.transformer.planning.preflight import resolve
from tests.models.transformer.checkpoints import make_checkpoint


def test_a_case_is_trained_in_the_computed_micro_batches(tmp_path: Path) -> None:
    backbone = str(make_checkpoint(tmp_path, "llama"))
    case = Case(4, 64, "eager", "float32", True, False)
    settings = resolve(_settings(case, backbone), device_spec(CPU))
    needed = memory.estimate(settings, load_config(settings), device_spec(CPU))
    assert (needed.rows, needed.tokens) == (4, 64)
    drawn = _battles(case, load(settings, 1, 0, CPU).model)
    assert {len(drawn.sequence(row, swapped=False)) for row in range(BATTLES)} == {64}
    assert [len(part) for part in batches(drawn.lengths, settings.tokens_per_batch, 0)] == [4] * 4
    found = measure(case, backbone, at_once=False)
    assert (found["total"], found["most"]) == (needed.total, needed.most)
    assert found["peak"] > 10**8


def test_the_cases_have_titles_of_their_own() -> None:
    titles = [case.title() for case in CASES]
    assert len({*titles}) == len(titles)
    assert max(map(len, titles)) < 58
