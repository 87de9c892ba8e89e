"""Opening a user's file: plain, gzip, or a zip archive of one file, with limits on what it unpacks to."""

import gzip
import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Protocol, cast

from battles.errors import BadInput, shown

# The competition's training file has 0.18 GB. A zip bomb unpacks a thousandfold; tables of text rarely tenfold.
MAX_BYTES = 16 * 2**30
MAX_RATIO, RATIO_FROM_BYTES = 250, 64 * 2**20

_BUFFER_BYTES = 2**20
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Unpacked(io.RawIOBase):
    """The bytes of an archive as they are unpacked, counted, because the size that a header declares may be a lie."""

    def __init__(self, path: Path, source: _Source) -> None:
        self._path, self._source = path, source
        self._limit = min(MAX_BYTES, max(RATIO_FROM_BYTES, MAX_RATIO * path.stat().st_size))
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # a writable buffer is a memoryview here
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        self._count += len(data)
        if self._count > self._limit:
            raise BadInput(
                f"{self._path}: unpacks to more than {self._limit:,} bytes, the limit for an archive of "
                f"{self._path.stat().st_size:,} bytes; unpack it yourself and give the file"
            )
        return len(data)


class _Counted(io.FileIO):
    """A file that tells how many of its bytes have been read."""

    def __init__(self, path: Path, count: Callable[[int], None]) -> None:
        super().__init__(path)
        self._tell = count

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]  # as above
        size = super().readinto(buffer)
        self._tell(size or 0)
        return size

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size)
        self._tell(len(data))
        return data


def inner_name(path: Path) -> str:
    """The name of the file itself or, of an archive, that of the file inside. Raises BadInput as `only_member` does."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return path.stem
    if suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return PurePosixPath(_only_member(path, archive).filename).name
    return path.name


@contextmanager
def opened(path: Path, count: Callable[[int], None] = lambda size: None) -> Iterator[IO[bytes]]:
    """The bytes of a text file, unpacked; `count` is told how many bytes of the file itself were read.

    Raises BadInput for UTF-16, UTF-32 and what unpacks beyond the limits.
    """
    suffix = path.suffix.lower()
    with ExitStack() as stack:
        file_itself = stack.enter_context(_Counted(path, count))
        raw: io.RawIOBase = file_itself
        if suffix == ".gz":
            raw = _Unpacked(path, stack.enter_context(gzip.GzipFile(fileobj=file_itself)))
        elif suffix == ".zip":
            archive = stack.enter_context(zipfile.ZipFile(file_itself))
            raw = _Unpacked(path, stack.enter_context(archive.open(_only_member(path, archive))))
        file = stack.enter_context(io.BufferedReader(raw, _BUFFER_BYTES))
        # Without a byte order mark, a header in ASCII characters shows itself by the zero bytes between them.
        start = file.peek(4)[:4]
        if start.startswith(_BYTE_ORDER_MARKS) or b"\0" in start:
            raise BadInput(f"{path}: the text is UTF-16 or UTF-32, not UTF-8; save it as UTF-8 (Excel: CSV UTF-8)")
        yield cast(IO[bytes], file)


def _only_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    # macOS adds a shadow folder to every archive.
    members = [info for info in archive.infolist() if not info.is_dir() and not info.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        names = ", ".join(info.filename for info in members[:9])
        raise BadInput(f"{path}: {len(members)} files inside ({shown(names)}); give an archive of exactly one file")
    name = members[0].filename
    # Nothing is written to the disk, so this could do no harm; but such an archive is made to do some.
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or ".." in PureWindowsPath(name).parts:
        raise BadInput(f"{path}: the file inside, {shown(name)}, leads out of the archive; pack the file alone")
    if members[0].flag_bits & 1:
        raise BadInput(f"{path}: the archive is encrypted; give one without a password")
    return members[0]
