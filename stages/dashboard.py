"""Serves the run's Optuna study on 127.0.0.1 with optuna-dashboard, until interrupted."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

from battles.errors import BadInput
from battles.paths import RunPaths, check_run
from models.stacking.studies import BEST, NOTE, open_storage
from stages.common import guarded
from stages.endings import Interrupted
from stages.variables import given, note_exported

HOST, PORT = "127.0.0.1", 8080
DIGITS = 7
_FLOAT = re.compile(r"-?\d+\.\d+(e[-+]?\d+)?")
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def main() -> None:
    run, storage = given("RUN"), given("STORAGE")
    check_run(run)
    note_exported()
    journal = RunPaths(run).stack / "study.journal"
    if not storage and not journal.exists():
        raise BadInput(f"{journal}: no study yet; run `make stack RUN={run}` first")
    try:
        serve(storage or journal)
    except Interrupted:
        return  # how it is meant to end


def serve(study: Path | str, port: int = PORT) -> None:
    """Serves a journal's or a database's studies until a signal comes.

    In this process: among another one's arguments everybody could read a password in the URL.
    """
    from optuna_dashboard import wsgi

    try:
        application = only_local(readable(wsgi(open_storage(study))))
        server = make_server(HOST, port, application, server_class=_Server)
    except OSError as error:
        raise BadInput(f"dashboard: port {port} cannot be opened ({error.strerror}); end what uses it") from None
    print(f"dashboard: http://{HOST}:{port} (Ctrl-C ends it)", flush=True)
    with server:
        server.serve_forever()


def only_local(application: Application) -> Application:
    """Refuses requests whose Host header names another machine: a page elsewhere could have its name point here."""

    def checked(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        host = str(environ.get("HTTP_HOST", "")).rpartition(":")
        if (host[0] or host[2]) not in (HOST, "localhost"):
            start_response(f"{HTTPStatus.FORBIDDEN.value} {HTTPStatus.FORBIDDEN.phrase}", [])
            return [b""]
        return application(environ, start_response)

    return checked


def readable(application: Application) -> Application:
    """The same with figures of 7 digits, and with each study's best value and note beside its name in the list.

    Only what is shown changes: optuna-dashboard shows floats with 17 digits, and of a study in its list the name alone.
    """

    def shown(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        if environ.get("REQUEST_METHOD") != "GET" or not path.startswith("/api/studies"):
            return application(environ, start_response)
        said: list[tuple[str, list[tuple[str, str]]]] = []
        given = application(environ, lambda status, headers, *_: said.append((status, headers)))
        try:
            content = b"".join(given)
        finally:
            getattr(given, "close", lambda: None)()
        status, headers = said[-1]
        if status.startswith("200") and "json" in dict(headers).get("Content-Type", ""):
            told = rounded(json.loads(content))
            for study in told.get("study_summaries", []):
                study["study_name"] = _listed(study)
            content = json.dumps(told).encode()
            headers = [one for one in headers if one[0].lower() != "content-length"]
            headers.append(("Content-Length", str(len(content))))
        start_response(status, headers)
        return [content]

    return shown


def rounded(value: Any) -> Any:
    """JSON values with 7 significant digits, also in texts that are nothing but a float."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, str) and _FLOAT.fullmatch(value):
        return f"{float(value):.{DIGITS}g}"
    return value


def _listed(study: Mapping[str, Any]) -> str:
    """A study's name, and the best value and the note that the stacker has left among its attributes, if it has."""
    name = str(study["study_name"])
    left = {one["key"]: one["value"] for one in study["user_attrs"]}
    if BEST not in left:
        return name
    best = f", best {left[BEST]}" + (f" ({left[NOTE]})" if NOTE in left else "")
    title, bracket, code = name.rpartition(" [")
    return f"{title}{best}{bracket}{code}" if title else f"{name}{best}"


if __name__ == "__main__":
    guarded(main)
