"""A dump as bytes to be read on: unpacked, in UTF-8, and never more than a block of it in memory."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, cast

import pyarrow as pa

from sonogloss import files
from sonogloss.errors import ClipError, Code
from sonogloss.sources.handles import Opened, Reader, Window
from sonogloss.sources.places import open_file
from sonogloss.sources.source import SourceLimits

LIMITS = SourceLimits(ratio_from_bytes=256 << 20)
"""A dump of captions over and over packs better than others: a ratio is that of a bomb from a larger size on."""

BLOCK = 1 << 20
"""Bytes that are taken at once."""

_HEAD = 4096
_PIECE = 8192
_ENDS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bzip2", ".xz": "xz"}
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
_OPEN: Mapping[str, Callable[[Any], Reader]] = {
    "gzip": lambda packed: gzip.GzipFile(fileobj=packed, mode="rb"),
    # Arrow's reader says where a stream is cut off; that of zstandard ends without a word.
    "zstd": lambda packed: cast(Reader, pa.CompressedInputStream(pa.PythonFile(packed, mode="r"), "zstd")),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}


def without_packing(name: str) -> str:
    """A file's name in lower case, without an ending that says how it is packed."""
    name = name.lower()
    for short in (".tgz", ".tzst"):
        if name.endswith(short):
            return name.removesuffix(short) + ".tar"
    return next((name.removesuffix(end) for end in _ENDS if name.endswith(end)), name)


@contextmanager
def open_dump(uri: str) -> Iterator[Opened | Unpacked]:
    """Open a dump for reading, unpacked where its first bytes say that it is packed (gzip, zstd, bzip2, xz).

    Raises:
        ClipError: it cannot be opened, or its name says that it is packed, and it is not.
    """
    with open_file(uri) as handle:
        head = handle.read(_HEAD)
        handle.check()
        handle.seek(0)
        kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
        named = next((kind for end, kind in _ENDS.items() if files.base_name(uri).lower().endswith(end)), None)
        if named is not None and kind is None and head:
            raise ClipError(Code.ARCHIVE_CORRUPT, f"It is not packed with {named}.")
        yield Unpacked(handle, kind) if kind is not None else handle


class Unpacked:
    """The unpacked bytes of a file.

    Args:
        packed: the file.
        kind: how it is packed.

    Raises:
        ClipError: (while reading) ARCHIVE_CORRUPT, LIMIT where the ratio is that of a bomb, or READ_ERROR.
    """

    def __init__(self, packed: Opened, kind: str) -> None:
        self._packed, self._stream, self._position = packed, _OPEN[kind](packed), 0

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end. What stands before damage is read."""
        data = bytearray()
        try:
            # In pieces, for what a failing call has unpacked is lost.
            while len(data) < size and (piece := self._stream.read(min(_PIECE, size - len(data)))):
                data += piece
        except (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
            self._packed.check()
            if not data:
                raise ClipError(Code.ARCHIVE_CORRUPT, f"It is cut off or damaged: {error}") from error
        self._packed.check()
        self._position += len(data)
        packed = self._packed.tell()
        if LIMITS.too_dense(packed, self._position):
            sentence = f"{packed:,} bytes unpack to more than {self._position:,}, a ratio over the limit"
            raise ClipError(Code.LIMIT, sentence, packed)
        return bytes(data)


@contextmanager
def seekable(stream: Opened | Unpacked) -> Iterator[Opened]:
    """The same bytes, to be read in any order; what is packed is unpacked to a temporary file."""
    if isinstance(stream, Opened):
        yield stream
        return
    with tempfile.TemporaryFile() as handle:
        while block := stream.read(BLOCK):
            handle.write(block)
        with Opened(Window(cast(IO[bytes], handle), 0, handle.tell())) as opened:
            yield opened


def as_utf8(stream: Reader) -> Reader:
    """The same text in UTF-8 without a byte order mark. UTF-16 is known by its mark, or by its zeros.

    Raises:
        ClipError: UNSUPPORTED, it is UTF-32.
    """
    head = stream.read(_HEAD)
    while 0 < len(head) < 4 and (more := stream.read(4)):
        head += more
    whole = Joined(head, stream)
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise ClipError(Code.UNSUPPORTED, "It is UTF-32, which is not read; save it as UTF-8.")
    if (encoding := _utf16(head)) is not None:
        return _Transcoded(whole, encoding)
    if head.startswith(codecs.BOM_UTF8):
        whole.read(len(codecs.BOM_UTF8))
    return whole


def is_plain_utf8(head: bytes) -> bool:
    """Are these the first bytes of a text that is read as it is: neither UTF-16 nor behind a byte order mark?"""
    return _utf16(head) is None and not head.startswith((codecs.BOM_UTF8, codecs.BOM_UTF32_BE))


def _utf16(head: bytes) -> str | None:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    half = len(head) // 2
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if half and odd > 0.6 * half and even < 0.05 * half:
        return "utf-16-le"
    return "utf-16-be" if half and even > 0.6 * half and odd < 0.05 * half else None


class Joined:
    """Bytes that were read already, and the rest."""

    def __init__(self, head: bytes, rest: Reader) -> None:
        self._head, self._rest = head, rest

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._rest.read(size)


class _Transcoded:
    """UTF-16 as UTF-8. What is broken in the one is broken in the other: half a pair, a byte too many."""

    def __init__(self, stream: Reader, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._ended = False

    def read(self, size: int, /) -> bytes:
        """About `size` bytes; none at the end."""
        while not self._ended:
            block = self._stream.read(size)
            try:
                text = self._decoder.decode(block, final=not block)
            except UnicodeDecodeError:
                text = "\ud800"
            self._ended = not block
            if text:
                return text.encode("utf-8", "surrogatepass")
        return b""
