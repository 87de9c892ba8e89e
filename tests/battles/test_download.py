"""A transfer that breaks goes on where it stopped; what arrives is the published file or is removed."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from battles import download
from battles.download import Published, fetch, part_of
from battles.errors import BadInput

CONTENT = bytes(range(256)) * 400
WHOLE = Published(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@dataclass
class Server:
    """What a server does: it ends the first `breaks` answers after `after` bytes each, and may not know ranges."""

    content: bytes = CONTENT
    breaks: int = 0
    after: int = 0
    ranges: bool = True
    code: int = 200
    asked: list[str | None] = field(default_factory=list)


@contextmanager
def serving(server: Server) -> Iterator[str]:
    """The address of a file on a server of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.asked.append(wanted)
            begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
            if server.code != 200 or begin >= len(server.content):
                self.send_error(server.code if server.code != 200 else 416)
                return
            body = server.content[begin:]
            self.send_response(206 if begin else 200)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(server.content) - 1}/{len(server.content)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if server.breaks:
                server.breaks -= 1
                body = body[: server.after]
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}/train.csv"
        finally:
            running.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_file_comes_whole(tmp_path: Path) -> None:
    with serving(Server()) as url:
        fetch(url, tmp_path / "new" / "train.csv", WHOLE)
    assert (tmp_path / "new" / "train.csv").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["train.csv"]


def test_a_broken_transfer_goes_on_where_it_stopped(tmp_path: Path) -> None:
    server = Server(breaks=2, after=30_000)
    with serving(server) as url:
        fetch(url, tmp_path / "train.csv", WHOLE)
    assert server.asked == [None, "bytes=30000-", "bytes=60000-"]
    assert (tmp_path / "train.csv").read_bytes() == CONTENT


def test_a_later_call_goes_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "RETRIES", 0)
    target, server = tmp_path / "train.csv", Server(breaks=1, after=1000)
    with serving(server) as url:
        with pytest.raises(BadInput, match=r"train.csv: broken off \(.*\); the same call goes on after 1,000 bytes"):
            fetch(url, target, WHOLE)
        assert not target.exists()
        assert part_of(target).read_bytes() == CONTENT[:1000]
        fetch(url, target, WHOLE)
        assert server.asked[-1] == "bytes=1000-"
        # What is whole but was not put in its place is not fetched again.
        target.rename(part_of(target))
        asked = len(server.asked)
        fetch(url, target, WHOLE)
        assert len(server.asked) == asked
        target.rename(part_of(target))
        fetch(url, target, Published(sha256=WHOLE.sha256))  # of unknown size: the server says that nothing is left
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_begins_again(tmp_path: Path) -> None:
    server = Server(breaks=1, after=5000, ranges=False)
    with serving(server) as url:
        fetch(url, tmp_path / "train.csv", WHOLE)
    assert (tmp_path / "train.csv").read_bytes() == CONTENT
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTENT[:-1], "102,399 bytes, the published file has 102,400"),
        (CONTENT[:-1] + b"x", "its SHA-256 is [0-9a-f]{16}…, the published file has [0-9a-f]{16}…"),
    ],
)
def test_another_file_is_removed_and_said(tmp_path: Path, content: bytes, message: str) -> None:
    target = tmp_path / "train.csv"
    target.write_bytes(b"an earlier one")
    with serving(Server(content)) as url, pytest.raises(BadInput, match=f"another file: .*{message}; it was removed"):
        fetch(url, target, WHOLE)
    assert target.read_bytes() == b"an earlier one"
    assert not part_of(target).exists()


def test_a_part_longer_than_the_file_is_not_gone_on_with(tmp_path: Path) -> None:
    target = tmp_path / "train.csv"
    part_of(target).write_bytes(b"x" * 200_000)
    with serving(Server()) as url:
        fetch(url, target, WHOLE)
    assert target.read_bytes() == CONTENT


def test_a_refusal_and_a_server_that_is_not_there_are_said(tmp_path: Path) -> None:
    with serving(Server(code=404)) as url, pytest.raises(BadInput, match=r"the server refuses it \(404 'Not Found'\)"):
        fetch(url, tmp_path / "train.csv", WHOLE)
    with pytest.raises(BadInput, match=r"broken off \(.*refused.*\); the same call tries again"):
        fetch(url, tmp_path / "train.csv", WHOLE)
    assert not list(tmp_path.iterdir())
