from pathlib import Path

import pytest
import yaml

from battles.errors import BadInput
from models.transformer.settings import Lora, Teacher, Transformer
from stages.config import Run, load

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.mark.parametrize("profile", ["sample", "cpu", "small", "table", "paper", "full", "t4"])
def test_every_profile_is_valid(profile: str) -> None:
    sections = load(PARAMS, profile, "r")
    run = sections["run"]
    assert isinstance(run, Run)
    assert set(run.bases) <= set(sections)


def test_what_the_file_says_of_a_transformers_settings_are_its_defaults() -> None:
    commented = [line[4:] for line in PARAMS.read_text(encoding="utf-8").splitlines() if line.startswith("#   ")]
    said = yaml.safe_load("\n".join(commented))
    base = Transformer.model_validate({"kind": "transformer", "backbone": "name", **said})
    # These two are none, and are shown with their own defaults.
    assert (base.lora, base.teacher) == (Lora(), Teacher(base=said["teacher"]["base"]))
    assert base.model_copy(update={"lora": None, "teacher": None}) == Transformer(backbone="name")
    assert {"kind", "backbone", *said} == set(Transformer.model_fields)


def test_set_goes_over_the_profile_and_the_profile_over_the_defaults() -> None:
    default = load(PARAMS, "full", "r")["llama"]
    profile = load(PARAMS, "paper", "r")["llama"]
    override = load(PARAMS, "paper", "r", "llama.max_length=64 llama.lora.rank=2")["llama"]
    assert isinstance(default, Transformer)
    assert isinstance(profile, Transformer)
    assert isinstance(override, Transformer)
    assert profile.lora is not None
    assert override.lora is not None
    assert (default.max_length, profile.max_length, override.max_length) == (2048, 1024, 64)
    assert override.lora.rank == 2
    assert override.lora.alpha == profile.lora.alpha == 8


def test_the_papers_settings() -> None:
    sections = load(PARAMS, "paper", "r")
    llama, gemma2 = sections["llama"], sections["gemma2"]
    assert isinstance(llama, Transformer)
    assert isinstance(gemma2, Transformer)
    assert llama.lora is not None
    assert gemma2.lora is not None
    assert (llama.lora.rank, llama.lora.alpha, llama.lora.target_modules) == (16, 8, ["v_proj", "o_proj"])
    assert (gemma2.lora.rank, gemma2.lora.alpha, gemma2.lora.target_modules) == (16, 32, ["q_proj", "k_proj"])
    assert (llama.max_length, gemma2.max_length) == (1024, 2048)
    assert llama.quantization == gemma2.quantization == "int8"
    roberta = sections["roberta"]
    assert isinstance(roberta, Transformer)
    assert (roberta.objective, roberta.outputs, roberta.test_from) == ("mse", 1, "best")


def test_the_runs_name_stands_in_a_backbones_path() -> None:
    base = load(PARAMS, "sample", "mine")["llama"]
    assert isinstance(base, Transformer)
    assert base.backbone == "models/runs/mine/tiny/llama"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("llama.epoch=1", r"llama.epoch = 1: .*known keys: .*epochs"),
        ("llama.epochs=none", "llama.epochs = 'none'"),
        ("llama.quantization=int8 llama.lora=null", "quantization int8"),
        ("llama.objective=mse llama.teacher.base=tfidf", "objective mse"),
        (
            "llama.teacher.base=bert",
            "llama.teacher.base = 'bert' is no base of this run; choose one of roberta, gemma2",
        ),
        ("llama.teacher.base=llama", "llama learns from llama; a base cannot learn from itself"),
        (
            "llama.teacher.base=gemma2 gemma2.teacher.base=roberta roberta.teacher.base=gemma2",
            "roberta learns from gemma2 learns from roberta",
        ),
        (
            "llama.teacher.base=gemma2 llama.teacher.clean=true gemma2.teacher.base=tfidf",
            "gemma2 has a teacher of its own",
        ),
        ("llama.teacher.base=[roberta,bert]", "llama.teacher.base = 'bert' is no base of this run"),
        (
            "llama.teacher.base=[gemma2,roberta] roberta.teacher.base=[gemma2,llama]",
            "roberta learns from llama learns from roberta",
        ),
        ("llama.teacher.file=rows.csv llama.teacher.clean=true", "teacher.clean: true, but the rows of a file"),
        ("epochs=1", "not section.key=value"),
        ("llama.epochs", "not section.key=value"),
        ("lama.epochs=1", "section 'lama' is no stage"),
        ("run.bases=[bert]", "run.bases names 'bert'"),
        ("run.bases=[]", "run.bases"),
    ],
)
def test_bad_settings_are_refused_by_name(overrides: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load(PARAMS, "sample", "r", overrides)


def test_an_unknown_profile_names_the_known_ones() -> None:
    with pytest.raises(BadInput, match="sample, cpu, small, table, paper, full"):
        load(PARAMS, "huge", "r")


def test_a_further_base_is_only_a_section(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(
        PARAMS.read_text().replace("profiles:", "qwen: {kind: transformer, backbone: some/qwen}\n\nprofiles:", 1)
    )
    sections = load(path, "full", "r", "run.bases=[qwen]")
    qwen = sections["qwen"]
    assert isinstance(qwen, Transformer)
    assert qwen.backbone == "some/qwen"


@pytest.mark.parametrize(
    ("content", "reason"), [(b"\xff\xfer\x00u\x00n\x00", "not UTF-8: byte 1"), (b"run: [", "not YAML: ")]
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=f"params.yaml: {reason}"):
        load(path, "sample", "r")
