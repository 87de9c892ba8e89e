"""The variables that the Makefile needs of the params, as a fragment that it includes."""

from pathlib import Path

from battles.errors import BadInput
from battles.paths import RunPaths
from battles.settings import Section
from models.transformer.settings import Tiny, Transformer
from stages import config
from stages.stamps import Stamps, source_kind


def fragment(sections: dict[str, Section], stamps: Stamps, run: str) -> str:
    """Assignments of NAMES (of bases), TRANSFORMERS (those of them that use torch), JOBS, THREADS, HAS_TEST, SOURCE,
    TINY, CLEAN (bases whose models without two folds are needed), NEEDS_<base> and STACK_NEEDS."""
    settings, tiny = sections["run"], sections["tiny"]
    assert isinstance(settings, config.Run)
    assert isinstance(tiny, Tiny)
    root = config.tiny_root(run)
    source = {"TABLE": "table", "TRAIN": "user"}.get(source_kind(stamps["inputs"]), "sample")
    lines = [
        f"NAMES := {' '.join(stamps['run']['bases'])}",
        f"JOBS := {settings.jobs}",
        f"THREADS := {settings.threads or ''}",
        f"HAS_TEST := {'yes' if stamps['test']['test'] else ''}",
        f"SOURCE := {source}",
        f"TINY := {' '.join(f'{root}/{name}/config.json' for name in tiny.backbones)}",
    ]
    if source != "table":
        teachers = config.teachers(sections)
        transformers = [name for name in settings.bases if isinstance(sections[name], Transformer)]
        lines.append(f"TRANSFORMERS := {' '.join(transformers)}")
        clean: list[str] | None = stamps["run"]["clean"]
        of_students = {other for teacher in teachers.values() if teacher.clean for other in teacher.bases}
        lines.append(f"CLEAN := {' '.join(sorted(of_students | set(clean or ())))}")
        paths = RunPaths(run)
        nested = [] if clean is None else [paths.nested_features, *map(paths.pairs, clean)]
        lines.append(f"STACK_NEEDS := {' '.join(map(str, nested))}")
        needs = {name: _needs(name, sections, run) for name in settings.bases}
        lines += [f"NEEDS_{name} := {' '.join(files)}" for name, files in needs.items() if files]
    return "\n".join(lines) + "\n"


def _needs(name: str, sections: dict[str, Section], run: str) -> list[str]:
    """The files that a base needs beside the battles: its tiny backbone, its teacher's rows."""
    base, tiny, paths = sections[name], sections["tiny"], RunPaths(run)
    assert isinstance(tiny, Tiny)
    needs = []
    if isinstance(base, Transformer) and base.backbone.startswith(f"{config.tiny_root(run)}/"):
        if Path(base.backbone).name not in tiny.backbones:
            raise BadInput(
                f"params.yaml: {name}.backbone = {base.backbone!r}, but tiny.backbones has only "
                f"{', '.join(tiny.backbones) or 'nothing'}"
            )
        needs.append(f"{base.backbone}/config.json")
    if teacher := config.teachers(sections).get(name):
        needs += [str(paths.predictions(other)) for other in teacher.bases]
        needs += [str(paths.pairs(other)) for other in teacher.bases if teacher.clean]
    return needs
