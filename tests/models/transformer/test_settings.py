"""What else can be set of the recipe: each option does what it says."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from battles.errors import BadInput
from models.base_kinds import start_hash
from models.transformer.backbone.adapters import merge
from models.transformer.backbone.pretrained import load_config, load_tokenizer
from models.transformer.base_model import open_base, open_saved
from models.transformer.data.tokenization import MARK, encode, for_prediction
from models.transformer.data.training_set import TrainingSet
from models.transformer.engine.training import count_steps, make_schedule
from models.transformer.fold import predict_test
from models.transformer.planning import plan
from models.transformer.settings import Lora, Teacher, Template, Transformer
from oof.table import MEAN
from stages.config import load as load_params
from tests.models.transformer.checkpoints import battles, load, settings
from tests.models.transformer.planning.test_plan import HERE, ROWS

CPU = torch.device("cpu")
IDS = torch.randint(5, 300, (2, 40), generator=torch.Generator().manual_seed(0))
VALID = np.arange(0, 60, 3)
TRAIN = np.setdiff1d(np.arange(60), VALID)


def _logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=IDS).logits
    return found


def test_paired_shows_both_orders_in_one_step(checkpoints: dict[str, Path]) -> None:
    base = settings(checkpoints["llama"], swap_training="paired", batch_size=8, epochs=2)
    encoded = encode(load_tokenizer(base), battles(), base)
    schedule = make_schedule(encoded, base, 3)
    assert sum(map(len, schedule)) == count_steps(len(encoded), base) == 30
    for steps in schedule:
        for rows, swapped in steps:
            half = len(rows) // 2
            assert half == 4
            assert np.array_equal(rows[:half], rows[half:])
            assert swapped.tolist() == [False] * half + [True] * half
        assert np.array_equal(np.sort(np.concatenate([rows[: len(rows) // 2] for rows, _ in steps])), np.arange(60))
    with pytest.raises(ValidationError, match="swap_training: paired shows battles in pairs, and batch_size 7 is odd"):
        settings(checkpoints["llama"], swap_training="paired", batch_size=7)


def test_rslora_scales_by_the_root_of_the_rank_and_dora_learns_lengths(checkpoints: dict[str, Path]) -> None:
    for lora, scale in ((Lora(rank=4, alpha=8), 2.0), (Lora(rank=4, alpha=8, rslora=True), 4.0)):
        model = load(settings(checkpoints["llama"], lora=lora), 1, 1, CPU)
        assert {s for m in model.modules() if isinstance(m, LoraLayer) for s in m.scaling.values()} == {scale}
    plain = load(settings(checkpoints["llama"], lora=Lora(rank=4, dropout=0.0)), 1, 1, CPU)
    dora = load(settings(checkpoints["llama"], lora=Lora(rank=4, dropout=0.0, dora=True)), 1, 1, CPU)
    lengths = {name: p for name, p in dora.named_parameters() if "magnitude" in name}
    assert len(lengths) == 14
    assert all(p.requires_grad and p.dtype == torch.float32 for p in lengths.values())
    assert (_logits(plain) - _logits(dora)).abs().max() < 1e-5  # at first it changes nothing
    with torch.no_grad():
        for name, parameter in dora.named_parameters():
            if "magnitude" in name or "lora_B" in name:
                parameter.add_(0.1)
    apart = _logits(dora)
    merge(dora, settings(checkpoints["llama"]))
    assert (_logits(dora) - apart).abs().max() < 1e-4


@pytest.mark.parametrize("truncation", ["middle", "left", "right"])
def test_what_is_cut_off_of_a_text(checkpoints: dict[str, Path], truncation: str) -> None:
    base = settings(checkpoints["llama"], truncation=truncation, max_length=72)
    tokenizer = load_tokenizer(base)
    whole = encode(tokenizer, battles(), base.model_copy(update={"max_length": 100_000}))
    found = encode(tokenizer, battles(), base)
    mark = tokenizer(MARK, add_special_tokens=False)["input_ids"]
    assert found.lengths.max() <= 72
    cut = 0
    for long, short in zip(whole.pieces[1], found.pieces[1], strict=True):
        if len(long) == len(short):
            assert np.array_equal(long, short)
            continue
        if len(short) <= len(mark) + 1:
            continue
        cut += 1
        at = 0 if truncation == "left" else len(short) - len(mark)
        if truncation == "middle":
            at = round((len(short) - len(mark)) * 2 / 3)
        assert short[at : at + len(mark)].tolist() == mark
        assert np.array_equal(short[:at], long[:at])
        assert np.array_equal(short[at + len(mark) :], long[len(long) - (len(short) - len(mark) - at) :])
    assert cut > 10


def test_battles_may_be_longer_where_they_are_predicted(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """As if the model of the short battles were asked about the long ones."""
    short = settings(checkpoints["llama"], max_length=72)
    both = settings(checkpoints["llama"], max_length=72, predict_max_length=150)
    assert for_prediction(both).max_length == 150
    assert for_prediction(short) == short
    data = TrainingSet.of(battles())
    found = {}
    for name, base in (("short", short), ("both", both)):
        (tmp_path / name).mkdir()
        fit, _ = open_base(name, base, data, battles().drop(columns=["winner_tie"]), tmp_path / name)
        found[name] = fit(0, TRAIN, VALID, tmp_path / name)
    weights = [load_file(tmp_path / name / "model" / "adapter_model.safetensors") for name in found]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())  # trained alike
    assert np.abs(found["short"].valid[MEAN] - found["both"].valid[MEAN]).max() > 1e-4
    assert found["both"].test is not None
    assert np.abs(found["both"].test[MEAN][VALID] - found["both"].valid[MEAN]).max() < 1e-5  # both at that length
    with pytest.raises(BadInput, match=r"predict_max_length: 193, but .* set it to 192 or less"):
        load_config(settings(checkpoints["llama"], predict_max_length=193))
    source = plan.Source(load_config(short), load_tokenizer(short))
    planned = [plan.make(base, source, battles(), ROWS, HERE) for base in (short, both)]
    assert planned[1].predict_tokens > 1.2 * planned[0].predict_tokens
    assert planned[1].train_tokens == planned[0].train_tokens


def test_a_fold_starts_from_the_fold_of_its_number(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = settings(checkpoints["llama"])
    fit, _ = open_base("first", first, TrainingSet.of(battles()), None, tmp_path)
    for number in (0, 1):
        (tmp_path / f"fold-{number}").mkdir()
        fit(number, TRAIN, VALID, tmp_path / f"fold-{number}")
    still = {"learning_rate": 1e-30, "weight_decay": 0.0, "init_from": "fold-{fold}/model"}
    second = settings(checkpoints["llama"], **still)
    fit, _ = open_base("second", second, TrainingSet.of(battles()), None, tmp_path / "second")
    (tmp_path / "second" / "fold-1").mkdir(parents=True)
    fit(1, TRAIN, VALID, tmp_path / "second" / "fold-1")
    file = "model/adapter_model.safetensors"
    came, went, other = (load_file(tmp_path / at / file) for at in ("fold-1", "second/fold-1", "fold-0"))
    assert came.keys() == went.keys()
    assert all(torch.allclose(value, went[key], atol=1e-6) for key, value in came.items())
    assert not all(torch.allclose(value, other[key], atol=1e-6) for key, value in came.items())
    before = start_hash(second)
    assert before is not None
    assert start_hash(first) is None
    save_file({key: value + 1 for key, value in other.items()}, tmp_path / "fold-0" / file)
    assert start_hash(second) != before  # a student of other models is another student


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init_from": "nowhere"}, "init_from: nowhere holds no adapter that can be read"),
        ({"lora": Lora(rank=2)}, r"init_from: .* is of another rank or backbone"),
        ({"lora": Lora(rank=4, target_modules=["q_proj"])}, "init_from: .* has adapters on other layers"),
    ],
)
def test_another_adapter_is_refused(
    checkpoints: dict[str, Path], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    load(settings(checkpoints["llama"]), 1, 1, CPU).save_pretrained(tmp_path)
    base = settings(checkpoints["llama"], **{"init_from": str(tmp_path), **changes})
    with pytest.raises(BadInput, match=message):
        load(base, 1, 1, CPU)


ANSWERS = ["A", "B", "tie"]


@pytest.mark.parametrize("tied", [True, False])
def test_the_head_starts_from_the_language_model_s_answers(
    checkpoints: dict[str, Path], tmp_path: Path, tied: bool
) -> None:
    tokenizer = load_tokenizer(settings(checkpoints["llama"]))
    from transformers import AutoModelForCausalLM

    language_model = AutoModelForCausalLM.from_pretrained(checkpoints["llama"])
    if tied:
        language_model.config.tie_word_embeddings = True
        language_model.tie_weights()
    language_model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": tied}))
    base = settings(checkpoints["llama"]).model_copy(update={"backbone": str(tmp_path), "head_from": ANSWERS})
    first = [tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in ANSWERS]
    with torch.no_grad():
        expected = language_model.eval()(input_ids=IDS).logits[:, -1, first]
    found = load(base, 1, 1, CPU)
    assert (_logits(found) - expected).abs().max() < 1e-5
    assert (_logits(load(base.model_copy(update={"head_from": None}), 1, 1, CPU)) - expected).abs().max() > 1e-3


def test_answers_that_begin_alike_and_other_heads_are_refused(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(BadInput, match=r"head_from: .* do not begin with three different tokens"):
        load(settings(checkpoints["llama"], head_from=["A", "A", "tie"]), 1, 1, CPU)
    with pytest.raises(BadInput, match=r"head_from: .* is a roberta, which has no head of a decoder"):
        load(settings(checkpoints["roberta"], head_from=ANSWERS), 1, 1, CPU)
    with pytest.raises(ValidationError, match="head_from: objective mse has one output"):
        settings(checkpoints["llama"], head_from=ANSWERS, objective="mse")
    with pytest.raises(ValidationError, match="init_from: adapters need lora"):
        Transformer(backbone="a/b", init_from="somewhere")


def test_only_plain_adapters_can_be_averaged(checkpoints: dict[str, Path]) -> None:
    assert settings(checkpoints["llama"], test_from="adapters").test_from == "adapters"
    for changes in ({"lora": None}, {"lora": Lora(rank=4, dora=True)}):
        with pytest.raises(ValidationError, match="test_from: adapters needs lora, without dora"):
            settings(checkpoints["llama"], test_from="adapters", **changes)
    with pytest.raises(ValidationError, match="test_from: adapters, but no battle is left to calibrate"):
        settings(checkpoints["llama"], test_from="adapters", objective="mse")


def test_settings_that_came_later_are_not_written_down_at_their_defaults() -> None:
    """What finished models depend on, and the hashes of it, stay what they were."""
    plain = Transformer(backbone="a/b", teacher=Teacher(base="big"))
    written = plain.model_dump(mode="json")
    for section in (Transformer, Template, Teacher):
        assert section.model_fields.keys() >= section.LATER
    assert written.keys() == Transformer.model_fields.keys() - Transformer.LATER
    assert written["template"].keys() == {"prompt", "first", "second", "end"}
    assert written["teacher"].keys() == {"base", "weight", "temperature", "clean"}
    assert Transformer.model_validate(written) == plain
    changed = plain.model_copy(update={"template": Template(turns="interleaved")})
    assert changed.model_dump(mode="json")["template"]["turns"] == "interleaved"
    assert Transformer.model_validate(changed.model_dump(mode="json")) == changed


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"weight": 0.5}, "teacher: neither base nor file is given"),
        ({"base": ["one", "two"], "file": "rows.csv", "shares": [1, 2]}, "teacher.shares: 2 weights for 3 teachers"),
        ({"file": "rows.csv", "clean": True}, "teacher.clean: true, but the rows of a file stay what they are"),
    ],
)
def test_teachers_that_do_not_go_together_are_refused(teacher: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Teacher.model_validate(teacher)


@pytest.mark.parametrize("lora", [None, Lora(rank=4, dropout=0.0)])
def test_a_model_without_the_cap_is_opened_without_it(
    checkpoints: dict[str, Path], tmp_path: Path, lora: Lora | None
) -> None:
    """By the settings that are written down beside it."""
    shutil.copytree(checkpoints["gemma2"], tmp_path / "capped")
    config = json.loads((tmp_path / "capped" / "config.json").read_text())
    (tmp_path / "capped" / "config.json").write_text(json.dumps({**config, "attn_logit_softcapping": 0.02}))
    base = settings(tmp_path / "capped", softcapping="none", lora=lora, learning_rate=1e-3)
    (tmp_path / "fold-0").mkdir()
    test = battles().drop(columns=["winner_tie"])
    fit, _ = open_base("base", base, TrainingSet.of(battles()), test, tmp_path)
    trained = fit(0, TRAIN, VALID, tmp_path / "fold-0").test
    assert trained is not None
    written = base.model_dump(mode="json")
    assert written["softcapping"] == "none"
    found = {}
    for name, values in (("none", written), ("keep", {**written, "softcapping": "keep"})):
        opened = open_saved("base", Transformer.model_validate(values), test, tmp_path / "fold-0")
        found[name] = predict_test(opened, tmp_path / "fold-0", 20)[MEAN]
    np.testing.assert_allclose(found["none"], trained[MEAN], atol=1e-6)
    # A full fine-tune's own configuration says it, too.
    assert (np.abs(found["keep"] - trained[MEAN]).max() < 1e-5) == (lora is None)


@pytest.mark.parametrize(("profile", "name"), [("full", "llama"), ("full", "gemma2"), ("t4", "gemma2")])
def test_a_profiles_recipe_trains_on_a_small_backbone(
    checkpoints: dict[str, Path], tmp_path: Path, profile: str, name: str
) -> None:
    """All of its options together, on a backbone of the same architecture."""
    recipe = load_params(Path(__file__).parents[3] / "params.yaml", profile, "r")[name]
    assert isinstance(recipe, Transformer)
    assert recipe.template.turns == "interleaved"
    small = {"backbone": str(checkpoints[name]), "max_length": 160, "frozen_layers": min(recipe.frozen_layers, 1)}
    longer = {"predict_max_length": 192} if recipe.predict_max_length else {}
    base = recipe.model_copy(
        update={**small, **longer, "lora": recipe.lora and recipe.lora.model_copy(update={"rank": 4})}
    )
    (tmp_path / "fold-0").mkdir()
    test = battles().drop(columns=["winner_tie"])
    fit, predict = open_base("base", base, TrainingSet.of(battles()), test, tmp_path)
    found = fit(0, TRAIN, VALID, tmp_path / "fold-0")
    assert found.test is not None
    assert np.allclose(found.valid[MEAN].sum(axis=1), 1)
    np.testing.assert_allclose(found.test[MEAN][VALID], found.valid[MEAN], atol=1e-4)
    np.testing.assert_allclose(predict(tmp_path / "fold-0", 20)[MEAN], found.test[MEAN], atol=1e-4)
