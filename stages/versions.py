"""A version of every step's code, part of what its files depend on.

Raise a step's number when its code gives other results for the same input: files of an earlier version are made again
then, and finished models are refused until AGAIN=1. Fingerprints of the code stand in `fingerprints.json`, so that a
test notices when it has changed: `python -m stages.versions` writes them anew, once the number is right.
"""

import ast
import hashlib
import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
FINGERPRINTS = Path(__file__).with_name("fingerprints.json")

VERSIONS = {
    "sample": 4,
    "prepare": 1,
    "features": 2,
    "tiny": 4,
    "transformer": 3,
    "tfidf": 2,
    "stack": 11,
}
# Where the code of a step begins; what these modules import of the project belongs to it.
ENTRIES = {
    "sample": ("battles.sample", "battles.sample_corpus"),
    "prepare": ("battles.reading", "battles.folds"),
    "features": ("features.table",),
    "tiny": ("models.transformer.tiny_backbone",),
    "transformer": ("models.transformer.base_model", "oof.crossfit"),
    "tfidf": ("models.tfidf.base_model", "oof.crossfit"),
    "stack": ("models.stacking.stacker", "models.stacking.inputs"),
}
# They say, write and refuse, and change no result.
WITHOUT_RESULTS = frozenset({"battles.errors", "battles.files", "battles.content", "battles.paths", "battles.progress"})


def fingerprints() -> dict[str, dict[str, object]]:
    """Step → its version, and a hash of its code without comments and documentation."""
    return {step: {"version": VERSIONS[step], "code": _fingerprint(entries)} for step, entries in ENTRIES.items()}


def _fingerprint(entries: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    waiting, known = list(entries), set(WITHOUT_RESULTS)
    sources = {}
    while waiting:
        module = waiting.pop()
        path = ROOT / f"{module.replace('.', '/')}.py"
        if module in known or not path.exists():
            continue
        known.add(module)
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        sources[module] = _code(text, tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    for module in sorted(sources):
        digest.update(f"{module}\n{sources[module]}\n".encode())
    return digest.hexdigest()[:16]


def _code(text: str, tree: ast.Module) -> str:
    """The lines of a module but for docstrings, comments and blank ones."""
    lines = text.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            assert docstring.end_lineno is not None
            lines[docstring.lineno - 1 : docstring.end_lineno] = [""] * (docstring.end_lineno - docstring.lineno + 1)
    return "\n".join(line.strip() for line in lines if line.strip() and not line.strip().startswith("#"))


if __name__ == "__main__":
    FINGERPRINTS.write_text(json.dumps(fingerprints(), indent=2) + "\n", encoding="utf-8")
