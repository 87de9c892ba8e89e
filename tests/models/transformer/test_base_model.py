import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate.state import AcceleratorState
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from battles.errors import BadInput
from battles.sample import generate
from battles.settings import Sample
from models.calibration import Calibration
from models.transformer import base_model, fold
from models.transformer.base_model import open_base
from models.transformer.data.tokenization import encode
from models.transformer.data.training_set import TrainingSet
from models.transformer.planning.preflight import resolve_for_training
from models.transformer.settings import Lora, Transformer
from oof.model_store import FoldResult
from oof.table import MEAN, PLAIN, SWAPPED
from tests.models.transformer.checkpoints import battles, settings

TEST = generate(Sample(train=60, test=10, seed=3)).test
VALID = np.arange(0, 60, 3)
TRAIN = np.setdiff1d(np.arange(60), VALID)


def _fit(
    folder: Path, path: Path, table: pd.DataFrame | None = None, extra: pd.DataFrame | None = None, **changes: object
) -> FoldResult:
    folder.mkdir()
    base = settings(path, **changes)
    training_set = TrainingSet.of(battles() if table is None else table, extra)
    fit, _ = open_base("base", base, training_set, TEST, folder)
    return fit(0, TRAIN, VALID, folder)


@pytest.mark.parametrize(("name", "quantization"), [("roberta", "none"), ("llama", "nf4"), ("gemma2", "int8")])
def test_a_fold_gives_both_orders_a_curve_and_a_model(
    checkpoints: dict[str, Path], tmp_path: Path, name: str, quantization: str
) -> None:
    result = _fit(tmp_path / "fold", checkpoints[name], quantization=quantization, epochs=2)
    assert result.test is not None
    for variants, rows in ((result.valid, 20), (result.test, 10)):
        assert set(variants) == {MEAN, PLAIN, SWAPPED}
        assert all(values.shape == (rows, 3) for values in variants.values())
        assert np.allclose(variants[MEAN].sum(axis=1), 1, atol=1e-6)
    curve = pd.read_csv(tmp_path / "fold" / "curve.csv")
    assert curve["valid_log_loss"].notna().sum() == 2
    assert (tmp_path / "fold" / "model" / "tokenizer.json").exists()
    assert len(list((tmp_path / "fold" / "tokens").iterdir())) == 2  # of the battles and of the test battles


@pytest.mark.parametrize("name", ["roberta", "llama"])
def test_the_stock_libraries_load_a_saved_fold_and_predict_the_same(
    checkpoints: dict[str, Path], tmp_path: Path, name: str
) -> None:
    result = _fit(tmp_path / "fold", checkpoints[name])
    saved = tmp_path / "fold" / "model"
    tokenizer = AutoTokenizer.from_pretrained(saved)
    loader: Any = AutoModelForSequenceClassification if name == "roberta" else AutoPeftModelForSequenceClassification
    model = loader.from_pretrained(saved, num_labels=3).eval()
    encoded = encode(tokenizer, TEST, settings(checkpoints[name]))
    assert result.test is not None
    with torch.inference_mode():
        for row in range(len(TEST)):
            ids = torch.from_numpy(encoded.sequence(row, False).astype(np.int64))[None]
            found = model(input_ids=ids).logits.softmax(dim=-1)[0].double().numpy()
            assert np.abs(found - result.test[PLAIN][row]).max() < 1e-5


@pytest.mark.parametrize("objective", ["cross_entropy", "mse"])
def test_the_votes_of_the_fold_do_not_reach_its_predictions(
    checkpoints: dict[str, Path], tmp_path: Path, objective: str
) -> None:
    turned = battles().copy()
    winners = ["winner_model_a", "winner_model_b", "winner_tie"]
    turned.loc[VALID, winners] = np.roll(turned.loc[VALID, winners].to_numpy(), 1, axis=1)
    plain = _fit(tmp_path / "one", checkpoints["llama"], objective=objective)
    other = _fit(tmp_path / "two", checkpoints["llama"], turned, objective=objective)
    assert np.array_equal(plain.valid[MEAN], other.valid[MEAN])
    changed = battles().copy()
    changed.loc[TRAIN, winners] = np.roll(changed.loc[TRAIN, winners].to_numpy(), 1, axis=1)
    again = _fit(tmp_path / "three", checkpoints["llama"], changed, objective=objective)
    assert not np.array_equal(plain.valid[MEAN], again.valid[MEAN])


@pytest.mark.parametrize("tta", ["both", "none"])
def test_one_output_gives_three_probabilities_and_a_saved_calibration(
    checkpoints: dict[str, Path], tmp_path: Path, tta: str
) -> None:
    base = {"objective": "mse", "tta": tta}
    result = _fit(tmp_path / "fold", checkpoints["roberta"], **base)
    assert result.test is not None
    assert set(result.valid) == ({MEAN, PLAIN, SWAPPED} if tta == "both" else {MEAN})
    assert result.valid[MEAN].shape == (20, 3)
    assert np.allclose(result.valid[MEAN].sum(axis=1), 1, atol=1e-6)
    saved = tmp_path / "fold" / "model"
    calibration = Calibration.of(json.loads((saved / "calibration.json").read_text()))
    tokenizer = AutoTokenizer.from_pretrained(saved)
    model = AutoModelForSequenceClassification.from_pretrained(saved).eval()
    assert model.config.num_labels == 1
    encoded = encode(tokenizer, TEST, settings(checkpoints["roberta"]))
    ids = torch.from_numpy(encoded.sequence(0, False).astype(np.int64))[None]
    with torch.inference_mode():
        score = float(model(input_ids=ids).logits) - 0.5
    found = calibration.probabilities(np.array([score]), np.empty((1, 0)))
    # The score is exact to fp32's rounding, which the calibration multiplies by its slopes.
    slope = calibration.scale + float(np.abs(calibration.tie[1:] / calibration.deviation).max())
    assert np.abs(found[0] - result.test[PLAIN if tta == "both" else MEAN][0]).max() < 1e-6 * max(10, slope)
    assert pd.read_csv(tmp_path / "fold" / "curve.csv")["valid_log_loss"].notna().sum() == 1


def test_extra_battles_are_learnt_but_not_where_their_prompt_is_scored(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    plain = _fit(tmp_path / "plain", checkpoints["llama"])
    scored = battles().iloc[VALID].assign(winner_model_a=0.1, winner_model_b=0.2, winner_tie=0.7)
    without = _fit(tmp_path / "without", checkpoints["llama"], extra=scored)
    assert without.details["extra_rows"] == 0
    assert np.array_equal(plain.valid[MEAN], without.valid[MEAN])
    new = scored.assign(prompt=[json.dumps([f"new {number}"]) for number in range(len(scored))])
    other = _fit(tmp_path / "with", checkpoints["llama"], extra=new)
    assert other.details["extra_rows"] == len(new)
    assert not np.array_equal(plain.valid[MEAN], other.valid[MEAN])


def test_a_refit_scores_nothing(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    fit, _ = open_base("base", settings(checkpoints["llama"]), TrainingSet.of(battles()), TEST, tmp_path)
    (tmp_path / "refit").mkdir()
    refit = fit(3, np.arange(60), VALID[:0], tmp_path / "refit")
    assert refit.valid[MEAN].shape == (0, 3)
    assert refit.test is not None
    assert refit.test[MEAN].shape == (10, 3)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("roberta", {}),
        ("roberta", {"objective": "mse"}),
        ("llama", {"quantization": "nf4"}),
        ("gemma2", {"quantization": "int8", "tta": "none"}),
    ],
)
def test_a_saved_model_predicts_what_it_predicted_when_it_was_trained(
    checkpoints: dict[str, Path], tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    made = _fit(tmp_path / "fold", checkpoints[name], **changes)
    assert made.test is not None
    # Opened anew, with test battles that the training has not seen.
    again = pd.concat([TEST, TEST.iloc[:3].assign(id=["x", "y", "z"])], ignore_index=True)
    base = settings(checkpoints[name], **changes)
    _, predict = open_base("base", base, TrainingSet.of(battles()), again, tmp_path / "fold")
    predicted = predict(tmp_path / "fold", len(VALID))
    assert predicted.keys() == made.test.keys()
    for variant, values in made.test.items():
        close = 1e-3 if "objective" in changes else 1e-5
        np.testing.assert_allclose(predicted[variant][:10], values, rtol=0, atol=close)
    _, predict = open_base("base", base, TrainingSet.of(battles()), TEST, tmp_path / "fold")
    exact = predict(tmp_path / "fold", len(VALID))
    for variant, values in made.test.items():
        # A product with a single column may be rounded by where it lies in memory; the calibration enlarges that.
        np.testing.assert_allclose(exact[variant], values, rtol=0, atol=1e-4 if "objective" in changes else 0)


def test_a_saved_model_that_is_damaged_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    base = settings(checkpoints["llama"])
    _fit(tmp_path / "fold", checkpoints["llama"])
    weights = tmp_path / "fold" / "model" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    _, predict = open_base("base", base, TrainingSet.of(battles()), TEST, tmp_path / "fold")
    with pytest.raises(BadInput, match=r"fold/model: the saved model cannot be read .* run `make oof` again"):
        predict(tmp_path / "fold", len(VALID))


def test_a_training_does_not_go_on_in_other_numbers_than_it_was_begun_in(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`quantization: auto` on a smaller card, which would continue a bf16 fold in NF4."""
    base = settings(checkpoints["llama"], quantization="auto", checkpoint_minutes=0.0)
    folder = tmp_path / "fold-0"

    def fit(quantization: str) -> FoldResult:
        monkeypatch.setattr(base_model, "resolve_for_training", resolve_to(quantization))
        fit_model, _ = open_base("base", base, TrainingSet.of(battles()), None, folder)
        return fit_model(0, TRAIN, VALID, folder)

    with monkeypatch.context() as patch:
        patch.setattr("models.transformer.fold._predict_both", _killed)
        with pytest.raises(KeyboardInterrupt):
            fit("none")
    with pytest.raises(BadInput, match=r"begun with quantization none, and would go on here with quantization nf4"):
        fit("nf4")
    fit("none")
    shutil.rmtree(folder / "resume")
    assert fit("nf4").details["quantization"] == "nf4"


def test_adapters_are_put_on_the_weights_that_they_were_trained_beside(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = settings(checkpoints["llama"], quantization="auto")
    found = []
    for quantization in ("nf4", "none"):  # trained on a small card, then opened where 16 bits would fit
        monkeypatch.setattr(base_model, "resolve_for_training", resolve_to(quantization))
        fit, predict = open_base("base", base, TrainingSet.of(battles()), TEST, tmp_path / "fold")
        if quantization == "nf4":
            (tmp_path / "fold").mkdir(exist_ok=True)
            found.append(fit(0, TRAIN, VALID, tmp_path / "fold").test)
        else:
            found.append(predict(tmp_path / "fold", len(VALID)))
    assert found[0] is not None
    np.testing.assert_array_equal(found[1][MEAN], found[0][MEAN])


def resolve_to(quantization: str) -> Callable[..., Transformer]:
    """`resolve_for_training` on a device where `auto` comes to this quantization."""

    def resolved(base: Transformer, device: torch.device) -> Transformer:
        return resolve_for_training(base, device).model_copy(update={"quantization": quantization})

    return resolved


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def precision_anew() -> Iterator[None]:
    """accelerate keeps the first precision of a process for all later trainings; a step trains one base."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.mark.usefixtures("precision_anew")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapters_are_merged_to_predict_and_the_logits_stay(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    calls: list[str] = []
    real = torch.nn.Linear.forward

    def spy(layer: torch.nn.Linear, rows: torch.Tensor) -> torch.Tensor:
        calls.append("adapter" if min(layer.weight.shape) == RANK else "layer")
        return real(layer, rows)

    def predict_both(*arguments: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(torch.nn.Linear, "forward", spy)
            return predict_anyway(*arguments)

    predict_anyway = fold._predict_both
    monkeypatch.setattr(fold, "_predict_both", predict_both)
    changes: dict[str, Any] = {"lora": Lora(rank=RANK, dropout=0.0), "learning_rate": 3e-3, "dtype": dtype}
    merged = _fit(tmp_path / "merged", checkpoints["gemma2"], **changes)
    assert set(calls) == {"layer"}
    calls.clear()
    monkeypatch.setattr(fold, "merge", lambda *_: None)
    apart = _fit(tmp_path / "apart", checkpoints["gemma2"], **changes)
    assert calls.count("adapter") > 0
    difference = np.abs(merged.valid[MEAN] - apart.valid[MEAN]).max()
    assert difference < (1e-6 if dtype == "float32" else 1e-2)
    assert np.ptp(apart.valid[MEAN][:, 0]) > 2e-2  # there is something to lose
    # As it was saved, it is merged again when it is opened.
    _, predict = open_base("base", settings(checkpoints["gemma2"], **changes), *_data(), tmp_path / "merged")
    assert merged.test is not None
    np.testing.assert_array_equal(predict(tmp_path / "merged", len(VALID))[MEAN], merged.test[MEAN])


RANK = 5


def _data() -> tuple[TrainingSet, pd.DataFrame]:
    return TrainingSet.of(battles()), TEST
