"""Who may import whom: rooms and the packages of `models/` stand in one order, so that a reader knows where to look."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "battles": set(),
    "features": {"battles"},
    "oof": {"battles"},
    "models": {"battles", "oof"},
    "submission": {"battles", "features", "models", "oof"},
    "report": {"battles", "features", "oof"},
    "stages": {"battles", "features", "models", "oof", "submission", "report"},
}
# The base kinds and the stacker share what lies in `models/` itself, and know nothing of one another.
PACKAGES = {"transformer", "tfidf", "stacking"}
SHARED = {"calibration"}
# And one module stands above them: which kinds of bases there are.
KINDS = "base_kinds"
# Inside of `models/transformer/`: each place imports from itself and from those before it.
TRANSFORMER = (
    "library_warnings",
    "settings_parts",
    "settings",
    "data",
    "backbone",
    "tiny_backbone",
    "planning",
    "engine",
    "fold",
    "fold_mean",
    "base_model",
)


def _modules(folder: Path) -> Iterator[tuple[Path, set[str]]]:
    """Every module below a folder and the dotted names of the modules and names that it imports."""
    for path in sorted(folder.rglob("*.py")):
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
        yield path, names


def _inside(names: set[str], package: str) -> set[str]:
    """Of dotted names, the part after `package.` up to the next dot."""
    return {name.removeprefix(f"{package}.").split(".")[0] for name in names if name.startswith(f"{package}.")}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_stands_before_it(room: str) -> None:
    allowed = MAY_IMPORT[room] | {room}
    for path, names in _modules(ROOT / room):
        rooms = {name.split(".")[0] for name in names} & {*MAY_IMPORT, "tests", "benchmarks"}
        assert rooms <= allowed, f"{path} imports {rooms - allowed}"


def test_models_holds_its_packages_and_what_they_share() -> None:
    found = {path.stem for path in (ROOT / "models").glob("*.py")} - {"__init__"}
    assert found == {*SHARED, KINDS}
    # `models/runs/` holds the output of runs.
    assert {path.parent.name for path in (ROOT / "models").glob("*/__init__.py")} == PACKAGES


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_base_kinds_and_stacker_do_not_import_one_another(package: str) -> None:
    for path, names in _modules(ROOT / "models" / package):
        others = _inside(names, "models") - SHARED - {package}
        assert not others, f"{path} imports models.{others}"


def test_what_the_packages_of_models_share_imports_none_of_them() -> None:
    for name in SHARED:
        for path, names in _modules(ROOT / "models"):
            if path.stem == name and path.parent.name == "models":
                assert not _inside(names, "models") & PACKAGES, path


def test_places_of_the_transformer_stand_in_one_order() -> None:
    folder = ROOT / "models" / "transformer"
    for path, names in _modules(folder):
        place = path.relative_to(folder).parts[0].removesuffix(".py")
        if place == "__init__":
            continue
        assert place in TRANSFORMER, f"{path} has no place in the order"
        before = TRANSFORMER[: TRANSFORMER.index(place) + 1]
        assert _inside(names, "models.transformer") <= set(before), f"{path} imports {names}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): names
        for room in MAY_IMPORT
        for path, names in _modules(ROOT / room)
    }
    graph = {
        module: {known_name for name in names for known_name in (name, name.rpartition(".")[0]) if known_name in known}
        for module, names in known.items()
    }
    done: set[str] = set()

    def visit(module: str, chain: tuple[str, ...]) -> None:
        assert module not in chain, " imports ".join((*chain[chain.index(module) :], module))
        if module not in done:
            for other in graph[module] - {module}:
                visit(other, (*chain, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_an_init_is_a_docstring_so_that_reading_params_imports_no_torch() -> None:
    for room in MAY_IMPORT:
        for path in (ROOT / room).rglob("__init__.py"):
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert len(body) == 1, path
            assert isinstance(body[0], ast.Expr), path


def test_stages_do_not_import_stages() -> None:
    stages = (ROOT / "stages").glob("*.py")
    # A step is what make starts and guards: the others are what steps share.
    helpers = {path.stem for path in stages if "guarded(main)" not in path.read_text(encoding="utf-8")}
    for path, names in _modules(ROOT / "stages"):
        steps = _inside(names, "stages") - helpers
        assert not steps, f"{path} imports the step {steps}"


def test_every_folder_of_tests_mirrors_a_package() -> None:
    for path in (ROOT / "tests" / "models").rglob("test_*.py"):
        subject = path.relative_to(ROOT / "tests").with_name(re.sub("^test_", "", path.name))
        assert (ROOT / subject).exists(), f"{path} tests {subject}, which does not exist"
