"""What a model depends on, compared with what it was made from: the differences, and the refusal to replace it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from battles.errors import BadInput


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two dependencies, as `settings.epochs 2 -> 1`; only what both of them name."""
    return list(_changes(before, now, ""))


def _changes(before: Any, now: Any, path: str) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in sorted(set(before) & set(now)):
            yield from _changes(before[name], now[name], f"{path}.{name}" if path else name)
        for name in sorted(set(before) ^ set(now)) if path else ():
            yield f"{path}.{name} {before.get(name)} -> {now.get(name)}"
    elif before != now:
        yield f"{path} {_short(before)} -> {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def replacing(base: str, models: list[str], why: list[str], seconds: float) -> BadInput:
    """The refusal to train finished models again."""
    return BadInput(
        f"{base}: {len(models)} finished models ({', '.join(models)}) would be trained again, about "
        f"{describe_seconds(seconds)}, because of {'; '.join(why[:5]) or 'other dependencies'}; give AGAIN=1 to "
        "replace them, or another RUN to keep them"
    )


def describe_seconds(seconds: float) -> str:
    """A duration in its largest sensible unit: `31.0 h`, `2.5 min`, `12 s`."""
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
