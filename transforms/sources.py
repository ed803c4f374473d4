"""Which recording a unit of work reads, and the key by which a later run knows that it was done."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from sonogloss import files


@dataclass(frozen=True, kw_only=True)
class Source:
    """A recording: a file, or a member of an archive, or a range of one.

    Attributes:
        uri: path or URL of the file.
        member: name inside an archive, None for a loose file.
        start_s: where a range starts, in seconds; None for the whole.
        end_s: where a range ends, in seconds.
        bytes: size, None when unknown.
        version: changes when the content does (a modification time, an etag), None when unknown.
    """

    uri: str
    member: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    bytes: int | None = None
    version: str | None = None


def source_key(source: Source) -> str:
    """The identity of the work on a source: a digest of its name, its size and version, and its range."""
    content = [source.uri, source.member, source.bytes, source.version, source.start_s, source.end_s]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:20]


def loose_file(uri: str) -> Source:
    """The source that a file is. A file that cannot be asked has no size and no version; reading it will say why."""
    size, version = files.size_and_version(uri)
    return Source(uri=uri, bytes=size, version=version)
