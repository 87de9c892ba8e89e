"""The bundle of a run: what is in it, and that it predicts where there is nothing but it and the image's packages."""

import json
import math
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from battles.errors import BadInput
from battles.files import read_table
from battles.schema import ID, WINNERS
from stages import bundle as bundle_step
from submission import bundle, kernel
from submission.bundle import Target, write_bundle
from tests.robustness.stages_in_process import RUN, Outcome, call
from tests.submission.grader import grade

# What a bundle without language models imports.
PACKAGES = "import joblib, lightgbm, numpy, pandas, pyarrow, pydantic, scipy, sklearn, threadpoolctl, tqdm"
# The image's versions, which a Python for the offline proof should have.
IMAGE = "pandas 2.2, numpy 2, scikit-learn 1.6, lightgbm 4.6"
# No module of this name can open a connection: stands in for a network namespace where the kernel gives none.
GUARD = """
import runpy, socket, sys
def refuse(*words, **more):
    raise OSError("this process has no network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
sys.argv = sys.argv[1:]
sys.path.insert(0, str(__import__("pathlib").Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def packed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's bundle, moved into a folder of its own."""
    folder = tmp_path_factory.mktemp("packed") / "bundle"
    write_bundle(made / "models" / "runs" / RUN, folder, Target("somebody", "lmsys-chatbot-arena"))
    return folder


def step(monkeypatch: pytest.MonkeyPatch, made: Path, **variables: str) -> Outcome:
    monkeypatch.chdir(made)
    for name, value in {"RUN": RUN, **variables}.items():
        monkeypatch.setenv(f"ARENA_{name}", value)
    return call(bundle_step.main)


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()
            if path.suffix == ".zip":
                with zipfile.ZipFile(path) as archive:
                    yield from ((name, archive.read(name)) for name in archive.namelist())


def test_a_bundle_holds_what_predicts_and_nothing_of_the_training(made: Path, packed: Path) -> None:
    files = dict(contents(packed))
    assert {"predict.py", "params.json", "submit.ipynb", "run/stack/stack.json", "submission/kernel.py"} < files.keys()
    assert not [name for name in files if name.startswith(("stages", "tests")) or name.endswith((".parquet", ".csv"))]
    train = read_table(made / "battles" / RUN / "train.parquet")
    secrets = [text.encode() for text in train["response_a"].str.slice(2, 40).unique()[:50] if len(text) > 30]
    assert secrets
    for name, raw in files.items():
        # The sample's own words stand in the source.
        assert name.endswith(("sample_text.py", ".zip")) or not any(secret in raw for secret in secrets), name
        assert str(made).encode() not in raw, name


def test_the_same_run_gives_the_same_bundle(made: Path, packed: Path, tmp_path: Path) -> None:
    write_bundle(made / "models" / "runs" / RUN, tmp_path / "again", Target("somebody", "lmsys-chatbot-arena"))
    assert dict(contents(tmp_path / "again")) == dict(contents(packed))


def test_metadata_are_those_of_a_private_notebook_without_internet(packed: Path) -> None:
    data = json.loads((packed / "dataset-metadata.json").read_text())
    notebook = json.loads((packed / "kernel-metadata.json").read_text())
    assert data["id"] == f"somebody/{data['title']}"
    assert 6 <= len(data["title"]) <= 50
    assert notebook["dataset_sources"] == [data["id"]]
    assert notebook["id"] == f"somebody/{notebook['title']}"
    assert (notebook["is_private"], notebook["enable_internet"], notebook["enable_gpu"]) == (True, False, False)
    assert (packed / notebook["code_file"]).exists()
    cells = json.loads((packed / "submit.ipynb").read_text())["cells"]
    compile("".join(cells[0]["source"]), "cell", "exec")


@pytest.mark.parametrize("run", ["a", "x" * 100, "A.b_C", "---a"])
def test_names_are_what_kaggle_takes(run: str) -> None:
    for name in (bundle.slug(run), bundle.slug(run, "-submit")):
        assert 6 <= len(name) <= 50
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_the_step_says_what_to_type(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret_token")
    outcome = step(monkeypatch, made)
    assert outcome.code == 0, outcome
    lines = outcome.out.splitlines()
    assert "submission/r/bundle, 0." in lines[0]
    assert "INSERT_USERNAME_HERE" in outcome.out
    assert f"  kaggle datasets create -p submission/{RUN}/bundle -r zip" in lines
    assert not any(b"hf_secret_token" in raw for _, raw in contents(Path("submission", RUN, "bundle")))
    assert step(monkeypatch, made, OWNER="me").code == 0  # made anew
    assert [path.name for path in Path("submission", RUN).glob("*bundle*")] == ["bundle"]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RUN": "none"}, "there are no models of a run"),
        ({"OWNER": "a/b"}, "OWNER: 'a/b' must be letters"),
        ({"MODEL_SOURCES": "google/gemma"}, "MODEL_SOURCES: 'google/gemma' must be owner/model/framework"),
    ],
)
def test_a_bundle_that_cannot_be_is_refused(
    made: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    outcome = step(monkeypatch, made, **variables)
    assert (outcome.code, message in outcome.err) == (2, True), outcome


def test_a_bundle_over_the_limits_is_refused_and_leaves_an_earlier_one(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert step(monkeypatch, made).code == 0
    monkeypatch.setattr(bundle, "MAX_BYTES", 1000)
    outcome = step(monkeypatch, made)
    assert (outcome.code, "a data set holds" in outcome.err) == (2, True)
    assert Path("submission", RUN, "bundle", "predict.py").exists()


def candidates(name: str) -> list[str]:
    """Interpreters for the offline proof: this one, or those of 3.12 or 3.13 that can be found."""
    if name == "own":
        return [sys.executable]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    named, in_path = os.environ.get(f"IMAGE_PYTHON_{name.replace('.', '_')}"), shutil.which(f"python{name}")
    found = [*root.glob(f"versions/{name}.*/bin/python{name}")]
    return [place for place in (named, in_path, *map(str, sorted(found))) if place]


def usable(name: str) -> str:
    """The first candidate that has the packages; the test is skipped with the reason where there is none."""
    reason = "there is none here"
    for python in candidates(name):
        tried = subprocess.run([python, "-c", PACKAGES], capture_output=True, text=True, check=False)
        if not tried.returncode:
            return python
        reason = next(iter(tried.stderr.strip().splitlines()[-1:]), "it does not start")
    pytest.skip(f"Python {name}: {reason}; IMAGE_PYTHON_{name.replace('.', '_')} may name one with {IMAGE}")


def offline(python: str, packed: Path, source: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs the bundle's predict.py with nothing of this environment, without a network, in `folder`."""
    command = [python, str(packed / "predict.py")]
    namespace = ["unshare", "--map-root-user", "--net"]
    if (
        shutil.which("unshare")
        and subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode == 0
    ):
        command = [*namespace, *command]
    else:
        command = [python, "-c", GUARD, *command[1:]]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(
        [*command, "--input", str(source), *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["own", "3.12", "3.13"])
def test_the_bundle_alone_and_offline_gives_the_submission(made: Path, packed: Path, tmp_path: Path, name: str) -> None:
    python = usable(name)
    source, work = tmp_path / "input", tmp_path / "work"
    for folder in (source, work):
        folder.mkdir()
    shutil.copy(made / "test.csv", source)
    shutil.copytree(packed, tmp_path / "bundle")
    repository = subprocess.run(
        [python, "-c", "import battles"], cwd=work, env={"HOME": str(work)}, capture_output=True, check=False
    )
    assert repository.returncode, "the repository is importable there"
    done = offline(python, tmp_path / "bundle", source, work)
    assert done.returncode == 0, done.stderr
    assert (work / "submission.csv").read_bytes() == (made / "submission" / RUN / "submission.csv").read_bytes()


def hidden(made: Path) -> dict[str, pd.DataFrame]:
    """Test files as the hidden one may be."""
    table = pd.read_csv(made / "test.csv", dtype=str)
    ten = pd.concat([table] * 10, ignore_index=True)
    odd = table.head(6).assign(
        id=["0", "-7", "a b,c", '"', "語", "99999999999999999999"],
        prompt=["[null]", "[]", '[""]', '["\\ud83d"]', '["متى؟", null]', '["x", "y", null]'],
        response_a=["[null]", "[]", '["ผม"]', '["\\u0000"]', '["🙂🙂"]', f'["{"long " * 20000}"]'],
    )
    return {"one row": table.head(1), "ten times": ten.assign(id=range(10**9, 10**9 + len(ten))), "odd": odd}


def test_hidden_test_files_are_predicted_and_pass_the_grader(
    made: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, table in hidden(made).items():
        table.to_csv(tmp_path / "test.csv", index=False)
        monkeypatch.setattr(sys, "argv", ["predict.py", "--input", str(tmp_path)])
        kernel.main(packed)
        # Judged by all three outcomes alike, so that being sure of any one of odd texts costs as much.
        answers = pd.DataFrame({ID: table[ID].astype(str)} | dict.fromkeys(WINNERS, 1 / 3))
        assert math.log(3) <= grade(Path("submission.csv"), answers) < 3, name
        assert pd.read_csv("submission.csv", dtype=str)[ID].tolist() == table[ID].astype(str).tolist()
        Path("submission.csv").unlink()


def test_a_grader_refuses_what_the_rules_refuse(tmp_path: Path) -> None:
    answers = pd.DataFrame({"id": ["1"], "winner_model_a": [1.0], "winner_model_b": [0.0], "winner_tie": [0.0]})
    path, header = tmp_path / "s.csv", "id,winner_model_a,winner_model_b,winner_tie\n"
    path.write_text(f"{header}1,0.5,0.25,0.25\n")
    assert grade(path, answers) == pytest.approx(0.693147, abs=1e-6)
    for row in ("1,0.5,0.3,0.25", "2,0.5,0.25,0.25", "1,1.5,-0.25,-0.25"):
        path.write_text(f"{header}{row}\n")
        with pytest.raises(ValueError, match=r"sum to 1|do not match|outside"):
            grade(path, answers)


def test_the_nearest_test_file_is_taken_and_none_is_said(tmp_path: Path, packed: Path) -> None:
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    with pytest.raises(BadInput, match=r"holds 0 files test.csv"):
        kernel.find_test(tmp_path, packed)
    (tmp_path / "deep" / "deeper" / "test.csv").write_text("id,prompt,response_a,response_b\n")
    (tmp_path / "test.csv").write_text("something,else\n")
    assert kernel.find_test(tmp_path, packed) == tmp_path / "deep" / "deeper" / "test.csv"
    shutil.copy(tmp_path / "deep" / "deeper" / "test.csv", tmp_path / "deep" / "test.csv")
    assert kernel.find_test(tmp_path, packed) == tmp_path / "deep" / "test.csv"
    with pytest.raises(BadInput, match="is no folder"):
        kernel.find_test(tmp_path / "none", packed)


def test_a_mounted_backbone_is_found_by_its_configuration_and_name(tmp_path: Path) -> None:
    config = {"model_type": "gemma2", "hidden_size": 3584}
    about = {"backbones": {"gemma": {"hub": "google/gemma-2-9b-it", "config": config}}}
    (tmp_path / "bundle.json").write_text(json.dumps(about))
    places = {"gemma-2-9b": config, "gemma-2-9b-it": config, "other": {"model_type": "llama"}}
    for name, value in places.items():
        (tmp_path / "input" / name).mkdir(parents=True)
        (tmp_path / "input" / name / "config.json").write_text(json.dumps(value | {"more": 1}))
    found = kernel.find_backbones(tmp_path, tmp_path / "input")
    assert found == {"gemma": str(tmp_path / "input" / "gemma-2-9b-it")}
    shutil.rmtree(tmp_path / "input")
    with pytest.raises(BadInput, match="no folder with the backbone of gemma, google/gemma-2-9b-it"):
        kernel.find_backbones(tmp_path, tmp_path / "input")
