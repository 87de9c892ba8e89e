"""The text of params.yaml and of `SET` as nested mappings: read strictly, merged by key."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from battles.errors import BadInput, shown


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which YAML would keep the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key, (mark, _) in zip(keys, node.value, strict=False):
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", mark.start_mark)
        return super().construct_mapping(node, deep=deep)


def read(path: Path) -> dict[str, Any]:
    """The sections of params.yaml; raises BadInput for a file that is missing, not UTF-8, or not a YAML mapping."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)  # a SafeLoader
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; run make in the repository's folder") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8: byte {error.start + 1} ({error.reason}); save it as UTF-8") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise BadInput(f"{path}: not YAML: {shown(' '.join(str(error).split()))}") from None
    if not isinstance(raw, dict) or not all(isinstance(name, str) for name in raw):
        raise BadInput(f"{path}: must be a mapping of sections")
    return raw


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with the values of `above` in place of its own, mapping by mapping."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def parse_overrides(overrides: str) -> dict[str, Any]:
    """The words `section.key=value` of `SET`, the values in YAML; raises BadInput for a word of another form."""
    result: dict[str, Any] = {}
    for word in overrides.split():
        name, equals, text = word.partition("=")
        keys = name.split(".")
        if not equals or len(keys) < 2 or not all(keys):
            raise BadInput(
                f'SET: {shown(word)} is not section.key=value; for example SET="llama.epochs=1 stack.trials=20"'
            )
        try:
            value: Any = yaml.load(text, Loader=_UniqueKeys)  # a SafeLoader
        except (yaml.YAMLError, ValueError, TypeError, RecursionError):
            raise BadInput(f"SET: the value in {shown(word)} is not YAML") from None
        for key in reversed(keys):
            value = {key: value}
        result = merge(result, value)
    return result
