"""What all archives have in common: which members are sources, which are left out, which are refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from sonogloss.errors import ClipError, Code
from sonogloss.sources.names import (
    AUDIO_ENDINGS,
    OTHER_ENDINGS,
    SeenNames,
    ending,
    foreign_archive,
    left_out,
    looks_like_audio,
    unsafe,
)
from sonogloss.sources.registry import named_like_a_container
from sonogloss.sources.sidecars import ENDINGS as SIDECAR_ENDINGS
from sonogloss.sources.sidecars import SidecarJoin, sidecar_fields
from sonogloss.sources.source import SkipCode, Skipped, Source, SourceLimits

_NESTED = (SkipCode.NESTED, "Archives inside archives are not opened.")
_ARCHIVE_MAGIC = (b"PK\x03\x04", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ")


class MemberError(ClipError):
    """One member cannot be read; the archive goes on."""


class Member(Protocol):
    """A member as its archive lists it; folders are none."""

    @property
    def name(self) -> str:
        """As it stands in the archive; bytes that are not UTF-8 are surrogate escapes."""
        ...

    @property
    def size(self) -> int:
        """Its size, unpacked."""
        ...

    @property
    def place(self) -> tuple[int, ...]:
        """Where it is, for the one who opens it."""
        ...

    @property
    def refused(self) -> tuple[Code, str] | None:
        """Why it cannot be a source whatever its name: a link, a device, a cipher, a bomb."""
        ...

    @property
    def most_bytes(self) -> int:
        """What it may have."""
        ...

    def head(self) -> bytes:
        """Its first bytes, at most 512."""
        ...

    def content(self) -> bytes:
        """All of it; asked of small members only."""
        ...

    def version(self) -> str:
        """What changes when it does, and does not when others do."""
        ...


def sources_of(uri: str, kind: str, members: Iterable[Member], limits: SourceLimits) -> Iterator[Source | Skipped]:
    """The sources of an archive, in its order; what is wrong with the archive itself comes last.

    Args:
        uri: the archive.
        kind: its kind.
        members: its members. They are asked one at a time, and none again after the next.
        limits: what is accepted.
    """
    join = SidecarJoin(uri)
    seen = SeenNames()
    problem: ClipError | None = None
    try:
        for count, member in enumerate(members, 1):
            if count > limits.max_members:
                sentence = f"The archive has more than {limits.max_members:,} members, the limit; the rest is not read."
                raise ClipError(Code.LIMIT, sentence)
            try:
                found = _judged(uri, kind, member, limits, seen)
            except MemberError as error:
                found = Skipped(uri=uri, member=member.name, code=error.code, reason=error.message)
            if isinstance(found, Source):
                yield from join.recording(found)
            elif isinstance(found, dict):
                yield from join.sidecar(member.name, found)
            else:
                yield found
    except ClipError as error:
        problem = error
    yield from join.rest()
    if problem is not None:
        yield Skipped(uri=uri, code=problem.code, reason=problem.message, byte_offset=problem.byte_offset)


def _judged(
    uri: str, kind: str, member: Member, limits: SourceLimits, seen: SeenNames
) -> Source | Skipped | dict[str, Any]:
    """A member is a source, the fields of a sidecar, or left out."""
    name = member.name
    why = _bad_name(name, limits) or _left_out(name) or member.refused
    if why is None and not seen.add("/".join(part for part in name.split("/") if part not in ("", "."))):
        why = (Code.DUPLICATE_KEY, "A member of this name came before; only the first is read.")
    if why is None and ending(name) in SIDECAR_ENDINGS:
        fields = _sidecar(member, limits)
        if isinstance(fields, dict):
            return fields
        why = (SkipCode.SIDECAR, fields)
    if why is None and ending(name) not in AUDIO_ENDINGS:
        why = _by_content(member.head())
    if why is None and member.size > member.most_bytes:
        why = (Code.LIMIT, f"The member has {member.size:,} bytes; the limit is {member.most_bytes:,}.")
    if why is not None:
        return Skipped(uri=uri, member=name[: limits.max_name_bytes], code=why[0], reason=why[1])
    version = member.version()
    return Source(uri=uri, member=name, bytes=member.size, version=version, container=kind, place=member.place)


def _bad_name(name: str, limits: SourceLimits) -> tuple[Code, str] | None:
    if len(name.encode("utf-8", "surrogatepass")) > limits.max_name_bytes:
        return Code.LIMIT, f"The member's name is longer than {limits.max_name_bytes} bytes, the limit."
    words = unsafe(name)
    return (Code.ARCHIVE_UNSAFE, words) if words else None


def _left_out(name: str) -> tuple[SkipCode, str] | None:
    for part in name.split("/"):
        if why := left_out(part):
            return why
    if named_like_a_container(name) not in (None, "listing") or foreign_archive(name):
        return _NESTED
    if ending(name) in OTHER_ENDINGS - SIDECAR_ENDINGS:
        return SkipCode.NOT_AUDIO, "It is not named like audio."
    return None


def _by_content(head: bytes) -> tuple[SkipCode, str] | None:
    if looks_like_audio(head):
        return None
    if head.startswith(_ARCHIVE_MAGIC) or head[257:262] == b"ustar":
        return _NESTED
    return SkipCode.NOT_AUDIO, "Neither its name nor its content is that of audio."


def _sidecar(member: Member, limits: SourceLimits) -> dict[str, Any] | str:
    """The fields of a sidecar, or why it has none."""
    if member.size > limits.max_extra_bytes:
        return f"A sidecar of {member.size:,} bytes; {limits.max_extra_bytes:,} is the limit."
    try:
        return sidecar_fields(member.name, member.content())
    except ValueError as error:
        return f"The sidecar is not a JSON object ({error})."
