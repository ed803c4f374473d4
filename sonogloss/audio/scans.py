"""What must be known of a whole recording before any part of it is cut: its length, its flags, its digest.

Parts of a long recording are units of work of their own. A process that cuts several of them decodes the whole once.
"""

from __future__ import annotations

from collections import OrderedDict

from sonogloss.audio.byte_source import ByteSource
from sonogloss.audio.channels import Mixing
from sonogloss.audio.decode import AudioLimits, read_recording
from sonogloss.audio.recording import Recording

_REMEMBERED = 8
_scans: OrderedDict[tuple[object, ...], tuple[Recording, str]] = OrderedDict()


def scan(
    source: ByteSource, limits: AudioLimits, mixing: Mixing, name_and_version: tuple[object, ...] | None = None
) -> tuple[Recording, str]:
    """The recording and the digest of its bytes.

    Args:
        source: its bytes.
        limits: of what is accepted.
        mixing: how channels become one.
        name_and_version: what it is remembered by; None for a recording that is not asked for again.

    Raises:
        ClipError: as of :func:`~sonogloss.audio.decode.read_recording`; it is not remembered.
    """
    if name_and_version is None:
        return read_recording(source, limits, mixing=mixing), source.sha256()
    key = (*name_and_version, source.size, limits, mixing)
    if key not in _scans:
        recording = read_recording(source, limits, mixing=mixing)
        _scans[key] = recording.through(ByteSource(b"")), source.sha256()
        while len(_scans) > _REMEMBERED:
            _scans.popitem(last=False)
    _scans.move_to_end(key)
    recording, digest = _scans[key]
    return recording.through(source), digest
