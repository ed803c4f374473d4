"""Find where the sound of a file begins, whatever stands in front of it, and how its streams lie."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sonogloss.audio.byte_source import ByteSource
from sonogloss.audio.chunks import announcement, chunk_layout
from sonogloss.audio.containers import ffmpeg_name, is_foreign, readable_container, unknown_codec
from sonogloss.audio.flac import flac_layout
from sonogloss.audio.layout import Announcement, Layout, Stream, after_id3
from sonogloss.audio.media import media_layout
from sonogloss.audio.mpeg import find_frames, mpeg_layout
from sonogloss.audio.ogg import ogg_layout

_HEAD_BYTES = 1 << 10
_JUNK_BYTES = 1 << 16  # how far a header may lie behind junk
_HEADERS = re.compile(
    rb"(?:RIFF|RIFX|RF64|BW64).{4}WAVE|FORM.{4}AIF[FC]|fLaC[\x00\x80]\x00\x00\x22|OggS\x00\x02|caff\x00\x01\x00\x00"
    rb"|riff\x2e\x91\xcf\x11|\.snd\x00\x00|.{4}ftyp[a-zA-Z0-9 ]{4}|\x1aE\xdf\xa3|#!AMR",
    re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """The container of a file and its layout.

    Attributes:
        container: our name of a container that libsndfile reads, else None.
        ffmpeg: FFmpeg's name of the container; None for what is no sound, or a codec without the parameters it needs.
        start: where its header begins.
        head: the first bytes from there.
        announced: the form that its header announces.
        layout: its streams.
    """

    container: str | None
    ffmpeg: str | None
    start: int
    head: bytes
    announced: Announcement | None
    layout: Layout


def find_streams(source: ByteSource, *, behind_junk: bool) -> Found:
    """Recognize a file by its content. Junk in front of a header that is found counts as damage, zeros do not.

    Args:
        source: the file.
        behind_junk: look for a header in the first 64 KiB if there is none at the start.
    """
    start, junk = _find_start(source, behind_junk)
    head = source.read(start, _HEAD_BYTES)
    container, announced = readable_container(head), None
    layout: Layout | None = None
    if container == "MP3":
        layout = mpeg_layout(source, after_id3(source) if start == 0 else start)
    elif container == "Ogg":
        layout = ogg_layout(source, start)
    elif container == "FLAC":
        layout = flac_layout(source, start)
    elif container is not None:
        layout, announced = chunk_layout(source, start), announcement(source, start)
    elif ffmpeg_name(head) is not None:
        layout = media_layout(source, start, str(ffmpeg_name(head)))
    if layout is None:
        layout = Layout() if start == 0 else Layout(streams=(Stream(pieces=((start, source.size),)),))
    if junk and not layout.damaged:
        layout = Layout(streams=layout.streams, damaged=True, announced=layout.announced, data_start=layout.data_start)
    announced = announced or layout.announced
    # FFmpeg decodes more codecs, but WAV and Ogg need parameters for most of them.
    known = container in ("AIFF", "CAF") or unknown_codec(head, announced) is None
    known = known or (announced is not None and announced.extended)
    return Found(
        container=container,
        ffmpeg=ffmpeg_name(head) if known else None,
        start=start,
        head=head,
        announced=announced,
        layout=layout,
    )


def _find_start(source: ByteSource, behind_junk: bool) -> tuple[int, bool]:
    """Where the header begins, behind tags of titles and junk, and whether there was junk."""
    position = 0
    while (after := after_id3(source, position)) > position:
        if after >= source.size:
            return 0, False
        position = after
    head = source.read(position, _HEAD_BYTES)
    if position > 0 and readable_container(head) == "MP3":
        return 0, False  # libsndfile reads the tag of an MP3 by itself
    if ffmpeg_name(head) is not None or (position == 0 and (is_foreign(head) or not behind_junk)):
        return position, False
    block = source.read(position, _JUNK_BYTES + 16)
    match = _HEADERS.search(block)
    found = None if match is None else position + match.start()
    if found is None:
        found = find_frames(source, position, position + _JUNK_BYTES)
    if found is None:
        return 0, False
    if position > 0 and match is None and readable_container(source.read(found, 4)) == "MP3":
        return 0, False  # an MP3 again, with bytes between its tag and its frames
    return found, bool(source.read(position, found - position).strip(b"\0"))
