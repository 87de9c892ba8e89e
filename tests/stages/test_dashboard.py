import json
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from optuna_dashboard import wsgi

from models.stacking.studies import BEST, NOTE, open_storage
from stages.dashboard import only_local, readable, rounded


@pytest.mark.parametrize(
    ("host", "answered"),
    [
        ("127.0.0.1:8080", True),
        ("localhost:8080", True),
        ("localhost", True),
        ("elsewhere.example:8080", False),
        ("elsewhere.example", False),
        ("127.0.0.1.elsewhere.example:8080", False),
        ("", False),
    ],
)
def test_only_this_machines_names_are_answered(host: str, answered: bool) -> None:
    said: list[str] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"studies"]

    body = only_local(application)({"HTTP_HOST": host}, lambda status, headers: said.append(status))
    assert (said, list(body)) == ((["200 OK"], [b"studies"]) if answered else (["403 Forbidden"], [b""]))


def _get(application: Any, path: str) -> Any:
    environ = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    said: list[Any] = []
    content = b"".join(application(environ, lambda status, headers, *_: said.append((status, dict(headers)))))
    status, headers = said[0]
    assert status == "200 OK"
    assert headers["Content-Length"] == str(len(content))
    return json.loads(content)


def test_the_dashboard_shows_best_values_and_notes_beside_names_and_no_17_digits(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "study.journal")
    for name in ("booster, all battles [6a1c775a]", "new [0123abcd]", "nameless"):
        study = optuna.create_study(storage=storage, study_name=name)
        study.optimize(lambda trial: trial.suggest_float("rate", 0.01, 0.1, log=True), n_trials=2)
        if name != "new [0123abcd]":
            study.set_user_attr(BEST, 1.012561)
        if name == "nameless":
            study.set_user_attr(NOTE, "41 rounds; optimistic")
    raw, application = wsgi(storage), readable(wsgi(storage))
    names = {one["study_name"] for one in _get(application, "/api/studies")["study_summaries"]}
    assert names == {
        "booster, all battles, best 1.012561 [6a1c775a]",
        "new [0123abcd]",
        "nameless, best 1.012561 (41 rounds; optimistic)",
    }
    before, after = (json.dumps(_get(one, "/api/studies/0")) for one in (raw, application))
    floats = [float(value) for value in (study.best_params["rate"], study.best_value)]
    assert str(study.best_params["rate"]) not in after
    assert len(before) > len(after)
    trial = _get(application, "/api/studies/2")["trials"][study.best_trial.number]
    assert float(trial["params"][0]["param_external_value"]) == pytest.approx(floats[0], rel=1e-6)
    assert trial["values"][0] == pytest.approx(floats[1], rel=1e-6)
    assert open_storage(tmp_path / "study.journal").get_study_name_from_id(0) == "booster, all battles [6a1c775a]"


def test_only_figures_are_rounded() -> None:
    given = {
        "a": [1.23456789012, 5, True, None],
        "b": "0.0234567890123",
        "c": "v1.234567890",
        "d": "1.0.1",
        "e": "7",
    }
    assert rounded(given) == {
        "a": [1.234568, 5, True, None],
        "b": "0.02345679",
        "c": "v1.234567890",
        "d": "1.0.1",
        "e": "7",
    }
