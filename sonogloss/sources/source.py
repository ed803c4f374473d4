"""What this package hands out: a recording, something that was left out, and the limits of both."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sonogloss.errors import Code


@dataclass(frozen=True, kw_only=True)
class Source:
    """One recording, or a range of one, and where it lies.

    Attributes:
        uri: of the file or archive: an absolute local path, or a URL. It is a name, never a pattern. A local name that
            is not UTF-8 holds surrogate escapes, as everywhere in Python.
        member: its name inside the archive at `uri`; None for a file of its own.
        start_s: where the range begins, in seconds; None for the beginning.
        end_s: where the range ends, in seconds; None for the end.
        part: of a long recording that is several units of work, the numbers of its windows in one of them: from, and
            to, None for the end. None for all of it.
        id: what a listing or table calls it, if it says so.
        bytes: its size. None where nobody said; in Parquet the mean of its row group.
        version: changes when the content does. Size and time of change in nanoseconds for a local file, generation,
            etag or time for an object; for a member only what its own header says, so that an archive that grew keeps
            the versions of its older members.
        extra: what stands beside it: the columns of a listing or table, the fields of a sidecar.
        container: the registered kind that opens it, see `sonogloss.sources.registry`; None to find out by looking.
        place: where its container holds it. Only that container reads this.
        refused: why it cannot be opened, where the listing found that out.
    """

    uri: str
    member: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    part: tuple[int, int | None] | None = None
    id: str | None = None
    bytes: int | None = None
    version: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    container: str | None = None
    place: tuple[int, ...] | None = None
    refused: Skipped | None = None


def source_key(source: Source) -> str:
    """The identity of the work that a source stands for: 32 hex digits, digested from name, version, range and part.

    It never depends on the order of a listing, on `id`, on `extra`, or on the place inside an archive.
    """
    version = source.version if source.version is not None else source.bytes
    parts: list[object] = [source.uri, source.member, version, source.start_s, source.end_s]
    if source.part is not None:
        parts.append(source.part)
    name = "\x00".join("" if part is None else str(part) for part in parts)
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]


class SkipCode(StrEnum):
    """Why something was left out although nothing is wrong with it."""

    NOT_AUDIO = "NOT_AUDIO"  # neither name nor content is that of a recording
    NOT_CAPTIONS = "NOT_CAPTIONS"  # in a folder of caption dumps: no dump
    HIDDEN = "HIDDEN"  # the name begins with a dot
    SYSTEM_FILE = "SYSTEM_FILE"  # what an operating system or a disk station keeps beside the files
    NOT_A_FILE = "NOT_A_FILE"  # a pipe, a socket, a device, a link that leads nowhere
    LOOP = "LOOP"  # a link to a folder that is listed anyway
    REPEATED = "REPEATED"  # named before
    NESTED = "NESTED"  # an archive in an archive
    SIDECAR = "SIDECAR"  # a sidecar that cannot be used; its recording is there
    EXCLUDED = "EXCLUDED"  # excluded by its ending


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """Something that is no source: left out on purpose, or refused.

    Attributes:
        uri: of the file, folder or archive.
        member: its name inside the archive; None when the whole of `uri` is meant.
        reason: one sentence.
        code: a :class:`SkipCode`, or the :class:`~sonogloss.errors.Code` of a dead letter.
        byte_offset: where in the archive, when known.
    """

    uri: str
    member: str | None = None
    reason: str
    code: SkipCode | Code
    byte_offset: int | None = None

    @property
    def failed(self) -> bool:
        """Is this a dead letter, for a recording may be lost, rather than something to count?"""
        return isinstance(self.code, Code)


@dataclass(frozen=True, kw_only=True)
class SourceLimits:
    """What may be opened. All are checked before memory is taken for what they limit.

    Attributes:
        max_bytes: of one recording that is read in place.
        max_member_bytes: of one recording that must be held in memory, for it lies in a packed tar or in Parquet.
        max_members: of one archive.
        max_ratio: of unpacked to packed bytes of a member, from `ratio_from_bytes` on, and of a whole packed tar from
            64 times as much on. Deflated silence reaches a thousand.
        ratio_from_bytes: unpacked bytes that are accepted whatever the ratio.
        max_name_bytes: of the name of a member.
        max_extra_bytes: of a sidecar, or of one cell beside a recording.

    Archives inside archives are never opened.
    """

    max_bytes: int = 64 << 30
    max_member_bytes: int = 1 << 30
    max_members: int = 2_000_000
    max_ratio: float = 200.0
    ratio_from_bytes: int = 64 << 20
    max_name_bytes: int = 4096
    max_extra_bytes: int = 64 << 10

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value!r}")

    def too_dense(self, packed: int, unpacked: int, scale: int = 1) -> bool:
        """Is this the compression of a bomb?"""
        return unpacked > scale * self.ratio_from_bytes and unpacked > self.max_ratio * max(packed, 1)
