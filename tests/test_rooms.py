"""Who may import whom: the rooms stand in one order, so that a reader knows where to look."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "battles": set(),
    "features": {"battles"},
    "oof": {"battles"},
    "models": {"battles", "oof"},
    "submission": {"battles", "oof"},
    "report": {"battles", "features", "oof"},
    "stages": {"battles", "features", "models", "oof", "submission", "report"},
}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_stands_before_it(room: str) -> None:
    allowed = MAY_IMPORT[room] | {room}
    for path in (ROOT / room).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            rooms = {name.split(".")[0] for name in names} & {*MAY_IMPORT, "tests", "benchmarks"}
            assert rooms <= allowed, f"{path.name} imports {rooms - allowed}"


def test_stages_do_not_import_stages() -> None:
    helpers = {"common", "config"}
    for path in (ROOT / "stages").glob("*.py"):
        found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        modules = {n.module or "" for n in found if isinstance(n, ast.ImportFrom)}
        steps = {name.split(".")[1] for name in modules if name.startswith("stages.")} - helpers
        assert not steps, f"{path.name} imports the step {steps}"
