"""Serves the run's Optuna study on 127.0.0.1 with optuna-dashboard, until interrupted."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

from battles.errors import BadInput
from battles.paths import RunPaths, check_run
from stages.common import guarded
from stages.endings import Interrupted
from stages.variables import given, note_exported

HOST, PORT = "127.0.0.1", 8080
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

    from models.stacking.studies import open_storage

    try:
        server = make_server(HOST, port, only_local(wsgi(open_storage(study))), server_class=_Server)
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


if __name__ == "__main__":
    guarded(main)
