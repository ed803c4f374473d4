"""Archives for tests, built in memory the way people's tools build them."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from sonogloss.errors import ClipError
from sonogloss.sources import Skipped, Source, SourceLimits, list_sources, open_members

Members = Mapping[str, bytes]


def wav(seed: int, frames: int = 400) -> bytes:
    """A WAV of seeded noise; no two are equal."""
    samples = np.random.default_rng(seed).integers(-9000, 9000, frames, dtype=np.int16).tobytes()
    form = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def tar(members: Members, *, mtime: int = 1_700_000_000, format_: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of regular files."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format_) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), mtime
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


def tar_of(*infos: tarfile.TarInfo) -> bytes:
    """A tar of headers without data."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for info in infos:
            archive.addfile(info)
    return target.getvalue()


def zipped(members: Members, *, deflate: bool = True, streamed: bool = False) -> bytes:
    """A zip; `streamed` writes sizes behind the members, as writers to a pipe do."""
    target = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    with zipfile.ZipFile(_NoSeek(target) if streamed else target, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content, method)
    return target.getvalue()


class _NoSeek:
    """A pipe."""

    def __init__(self, target: io.BytesIO) -> None:
        self._target = target

    def write(self, data: bytes) -> int:
        return self._target.write(data)

    def flush(self) -> None:
        pass


def parquet(members: Members, **columns: list[object]) -> bytes:
    """Parquet as Hugging Face writes it: `audio` is a struct of bytes and path."""
    audio = pa.array(
        [{"bytes": content, "path": name} for name, content in members.items()],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    return parquet_of(pa.table({"audio": audio, **columns}))


def parquet_of(table: pa.Table, row_group_size: int = 3, rows_a_page: int = 1024) -> bytes:
    """A table as the bytes of a Parquet file."""
    target = io.BytesIO()
    pq.write_table(table, target, row_group_size=row_group_size, write_batch_size=rows_a_page)
    return target.getvalue()


ARCHIVES: dict[str, Callable[[Members], bytes]] = {
    "a.tar": tar,
    "gnu.tar": lambda members: tar(members, format_=tarfile.GNU_FORMAT),
    "ustar.tar": lambda members: tar(members, format_=tarfile.USTAR_FORMAT),
    "a.tar.gz": lambda members: gzip.compress(tar(members), mtime=0),
    "a.tar.zst": lambda members: zstandard.compress(tar(members)),
    "deflated.zip": zipped,
    "stored.zip": lambda members: zipped(members, deflate=False),
    "streamed.zip": lambda members: zipped(members, streamed=True),
    "a.parquet": parquet,
}
"""Every kind of archive, by a file name."""


def put(folder: Path, name: str, content: bytes) -> str:
    """Write a file; its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


def listed(*patterns: str, limits: SourceLimits | None = None) -> tuple[list[Source], list[Skipped]]:
    """What patterns name: sources, and what was left out."""
    sources, skipped = [], []
    for found in list_sources(patterns, limits=limits):
        (sources if isinstance(found, Source) else skipped).append(found)
    return sources, skipped


def contents(sources: Iterable[Source], limits: SourceLimits | None = None) -> Iterator[tuple[Source, bytes | str]]:
    """Each source with its bytes, or the code of why it has none."""
    for source, opened in open_members(sources, limits=limits):
        if isinstance(opened, ClipError):
            yield source, opened.code.value
        else:
            data = opened.read()
            opened.check()
            yield source, data
