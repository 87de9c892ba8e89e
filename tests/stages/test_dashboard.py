from typing import Any

import pytest

from stages.dashboard import only_local


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
