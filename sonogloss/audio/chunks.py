"""Walk the chunks of WAV, RF64, AIFF, CAF and Wave64 files, and the header of AU, and mend the sizes of their samples.

A recorder that lost power leaves the sizes at zero, or where they last were. The samples then reach to the end of the
file, unless another chunk follows where the size says.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from sonogloss.audio.byte_source import ByteSource, Piece
from sonogloss.audio.layout import Announcement, Layout, Stream, is_harmless
from sonogloss.audio.padded_samples import without_padding

_UNKNOWN_SIZE = 0x7FFFF000  # writers to a pipe announce this much or more, as they do not know the size
_BARE_FORM = 18  # bytes of a format without parameters of its codec
_WIDEST_SAMPLE = 8  # bytes; a block of a compressed file is lost with any of its bytes
_EXTENSIBLE = 0xFFFE  # the codec stands further down
_GUID_TAILS = (bytes.fromhex("00001000800000aa00389b71"), bytes.fromhex("2107d3118644c8c1ca000000"))
_W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # of the GUID of every chunk but the first
_OFTEN_AFTER = (
    b"LIST",
    b"fact",
    b"id3 ",
    b"ID3 ",
    b"bext",
    b"cue ",
    b"smpl",
    b"iXML",
    b"PEAK",
    b"JUNK",
    b"_PMX",
    b"free",
)


@dataclass(frozen=True, kw_only=True)
class _Family:
    """How chunks are written: their names, their sizes (perhaps with their own head), and where the first one is."""

    order: str
    name_bytes: int = 4
    size_type: str = "I"
    inclusive: bool = False
    align: int = 2
    first: int = 12
    data_name: bytes = b"data"
    form_name: bytes = b"fmt "
    unknown: int = 0xFFFFFFFF

    @property
    def head(self) -> int:
        return self.name_bytes + struct.calcsize(f"={self.size_type}")


_RIFF = _Family(order="<")
_RIFX = _Family(order=">")
_AIFF = _Family(order=">", data_name=b"SSND", form_name=b"COMM")
_CAF = _Family(order=">", size_type="q", align=1, first=8, form_name=b"desc", unknown=-1)
_W64 = _Family(
    order="<",
    name_bytes=16,
    size_type="Q",
    inclusive=True,
    align=8,
    first=40,
    data_name=b"data" + _W64_TAIL,
    form_name=b"fmt " + _W64_TAIL,
    unknown=1 << 62,
)


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    name: bytes
    start: int
    body: int
    size: int  # of the body, as announced; negative or huge where it is unknown


def chunk_layout(source: ByteSource, start: int) -> Layout | None:
    """The layout of a file whose header of chunks is at `start`.

    Returns:
        None for other files, and where the header ends before the samples.
    """
    if _is_au(source.read(start, 4)):
        return _au_layout(source, start)
    streams: list[Stream] = []
    damaged, announced, data_start = False, None, None
    position: int | None = start
    while position is not None and (family := _family(source.read(position, 40))) is not None:
        found = _walk(source, position, family)
        if found is None:
            damaged = True
            break
        streams += found.streams
        damaged = damaged or found.damaged
        if announced is None:
            announced, data_start = found.announced, found.data_start
        position = found.next_start
    if not streams:
        return None
    whole = streams == [Stream(pieces=((0, source.size),))]
    return Layout(
        streams=(Stream(),) if whole else tuple(streams),
        damaged=damaged,
        announced=announced,
        data_start=data_start,
    )


def announcement(source: ByteSource, start: int = 0) -> Announcement | None:
    """The form that the header of chunks at `start` announces, even where no samples follow."""
    family = _family(source.read(start, 40))
    if family is None:
        return None
    for chunk in _chunks(source, start, family):
        if chunk.name == family.form_name:
            return _announced(source.read(chunk.body, min(40, chunk.size)), family)
        if chunk.name == family.data_name:
            break
    return None


def _family(head: bytes) -> _Family | None:
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _RIFF
    if head[:4] == b"RIFX" and head[8:12] == b"WAVE":
        return _RIFX
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _AIFF
    if head[:4] == b"caff":
        return _CAF
    if head[:4] == b"riff" and head[24:28] == b"wave":
        return _W64
    return None


def _chunks(source: ByteSource, start: int, family: _Family) -> Iterator[_Chunk]:
    """Chunks in the order of the file, as long as they look like chunks."""
    position = start + family.first
    while position + family.head <= source.size:
        head = source.read(position, family.head)
        (size,) = struct.unpack_from(family.order + family.size_type, head, family.name_bytes)
        body = position + family.head
        if family.inclusive:
            size -= family.head
        yield _Chunk(name=head[: family.name_bytes], start=position, body=body, size=size)
        if size < 0 or body + size > source.size:
            return
        position = body + size + -(body + size - start) % family.align


@dataclass(frozen=True, kw_only=True)
class _Found:
    streams: list[Stream]
    damaged: bool
    announced: Announcement | None
    data_start: int
    next_start: int | None


def _walk(source: ByteSource, start: int, family: _Family) -> _Found | None:
    """One file of chunks, from `start` to where the next one begins or to the end of the source."""
    announced: Announcement | None = None
    long_size: tuple[int, int] | None = None  # the size of an RF64's samples, and where it is written
    form: _Chunk | None = None
    data: _Chunk | None = None
    streams: list[Stream] = []
    damaged, next_start, end = False, None, start
    for chunk in _chunks(source, start, family):
        if chunk.start > start and _family(source.read(chunk.start, 40)) is not None:
            next_start = chunk.start
            break
        if data is not None and not _is_chunk(source, chunk.start, family):
            damaged = damaged or not is_harmless(source, chunk.start)
            break
        if chunk.name == family.form_name and announced is None:
            form = chunk
            announced = _announced(source.read(chunk.body, min(40, chunk.size)), family)
        elif chunk.name == b"ds64" and chunk.size >= 16 and data is None and chunk.body + 16 <= source.size:
            long_size = (struct.unpack("<Q", source.read(chunk.body + 8, 8))[0], chunk.body + 8)
        elif chunk.name == family.data_name and data is None:
            frame_bytes = 1 if announced is None else announced.frame_bytes
            stream, end, hurt = _samples(source, start, chunk, family, long_size, frame_bytes)
            if family is _RIFF and announced is not None and form is not None:
                stream = without_padding(source, stream, announced, form.body, (chunk.body, end))
            streams.append(stream)
            damaged, data = damaged or hurt, chunk
            if end >= source.size:
                break
            if chunk.body + chunk.size != end:  # the sizes of an RF64 are elsewhere
                next_start = end if _family(source.read(end, 40)) is not None else None
                break
        elif data is not None and chunk.name == family.data_name and chunk.size > 0:
            streams.append(
                Stream(pieces=((start, data.start), (chunk.start, min(chunk.body + chunk.size, source.size))))
            )
    if data is None:
        return None
    if next_start is not None:
        last = streams[-1].pieces
        if len(streams) == 1 and not any(isinstance(piece, bytes) for piece in last):
            streams[-1] = Stream(pieces=((start, next_start),))
    return _Found(streams=streams, damaged=damaged, announced=announced, data_start=data.body, next_start=next_start)


def _samples(
    source: ByteSource,
    start: int,
    chunk: _Chunk,
    family: _Family,
    long_size: tuple[int, int] | None,
    frame_bytes: int,
) -> tuple[Stream, int, bool]:
    """The stream of a chunk of samples, where it ends, and whether sound is missing or a size was wrong."""
    size, rest = chunk.size, source.size - chunk.body
    unknown = chunk.size < 0 if family is _CAF else family.size_type == "I" and chunk.size >= _UNKNOWN_SIZE
    if long_size is not None and chunk.size == 0xFFFFFFFF:
        size, unknown = long_size[0], long_size[0] >= 1 << 62
    untouched = Stream(pieces=((start, source.size),))
    if long_size is not None and long_size[0] != chunk.size != 0xFFFFFFFF:  # libsndfile believes the other one
        at = long_size[1]
        untouched = Stream(pieces=((start, at), struct.pack("<Q", chunk.size), (at + 8, source.size)))
    if family is _CAF and size < 0:  # libsndfile takes the count of edits for samples
        known = struct.pack(">q", rest)
        untouched = Stream(pieces=((start, chunk.start + 4), known, (chunk.body, source.size)))
    if (unknown and size > rest) or size < 0:
        return untouched, source.size, False
    if size > rest:
        return untouched, source.size, size - rest >= min(frame_bytes, _WIDEST_SAMPLE)
    end = chunk.body + size
    if source.size - end < max(2, min(frame_bytes, 8)):
        return untouched, source.size, False
    padded = end + -(end - start) % family.align
    if any(_is_chunk(source, at, family) for at in {end, padded}):
        return untouched, end, False
    if size > 0 and is_harmless(source, end):
        # Of a Wave64 libsndfile reads on to the end of the file.
        return Stream(pieces=((start, end),)) if family is _W64 else untouched, source.size, False
    field = chunk.start + family.name_bytes
    pieces: list[Piece] = [(start, field)]
    if long_size is not None:
        pieces = [(start, long_size[1]), struct.pack("<Q", rest), (long_size[1] + 8, field)]
        size_bytes = b"\xff" * 4
    elif family is _W64:
        size_bytes = struct.pack("<Q", rest + family.head)
    else:
        size_bytes = struct.pack(family.order + family.size_type, family.unknown)
    return Stream(pieces=(*pieces, size_bytes, (chunk.body, source.size))), source.size, True


def _is_chunk(source: ByteSource, position: int, family: _Family) -> bool:
    """Does a chunk, or another file of chunks, begin here?"""
    head = source.read(position, 40)
    if _family(head) is not None or head[:4] == b"id3\x03":
        return True
    if len(head) < family.head:
        return False
    if family is _W64:
        return head[4:16] == _W64_TAIL
    if not all(0x20 <= byte < 0x7F for byte in head[:4]):
        return False
    (size,) = struct.unpack_from(family.order + family.size_type, head, family.name_bytes)
    return head[:4] in _OFTEN_AFTER or 0 <= size <= source.size - position - family.head + 1


def _announced(form: bytes, family: _Family) -> Announcement | None:
    """The form of the samples from the body of its chunk."""
    if family is _AIFF:
        if len(form) < 8:
            return None
        channels, _, bits = struct.unpack_from(">HIH", form)
        return Announcement(
            codec=1, channels=channels, sample_rate=None, frame_bytes=max(1, channels * ((bits + 7) // 8))
        )
    if family is _CAF:
        if len(form) < 32:
            return None
        channels, packet = struct.unpack_from(">I", form, 24)[0], struct.unpack_from(">I", form, 16)[0]
        return Announcement(codec=1, channels=channels, sample_rate=None, frame_bytes=max(1, packet))
    if len(form) < 16:
        return None
    codec, channels, sample_rate, _, frame_bytes, bits = struct.unpack_from(f"{family.order}HHIIHH", form)
    if codec == _EXTENSIBLE and len(form) == 40 and form[28:40] not in _GUID_TAILS:
        codec = -1
    return Announcement(
        codec=codec,
        channels=channels,
        sample_rate=sample_rate,
        frame_bytes=max(1, frame_bytes),
        extended=len(form) > _BARE_FORM,
        bits=bits,
    )


def _is_au(magic: bytes) -> bool:
    return magic in (b".snd", b"dns.")


def _au_layout(source: ByteSource, start: int) -> Layout | None:
    """AU files: one header with the size of all samples, or of none where the writer did not know it."""
    streams: list[Stream] = []
    damaged, announced, data_start = False, None, None
    while _is_au(source.read(start, 4)):
        head = source.read(start, 24)
        if len(head) < 24:
            damaged = True
            break
        order = ">" if head[:4] == b".snd" else "<"
        offset, size, _, sample_rate, channels = struct.unpack(f"{order}5I", head[4:])
        body = start + offset
        if announced is None:
            announced, data_start = (
                Announcement(codec=1, channels=channels, sample_rate=sample_rate, frame_bytes=1),
                body,
            )
        end = body + size
        if size == 0xFFFFFFFF or end > source.size:
            damaged = damaged or size != 0xFFFFFFFF
            streams.append(Stream(pieces=((start, source.size),)))
            break
        if _is_au(source.read(end, 4)):
            streams.append(Stream(pieces=((start, end),)))
        elif end < source.size and not (size > 0 and is_harmless(source, end)):
            damaged = True
            streams.append(Stream(pieces=((start, start + 8), b"\xff" * 4, (start + 12, source.size))))
            break
        else:
            streams.append(Stream(pieces=((start, source.size),)))
            break
        start = end
    if not streams:
        return None
    whole = streams == [Stream(pieces=((0, source.size),))]
    return Layout(
        streams=(Stream(),) if whole else tuple(streams),
        damaged=damaged,
        announced=announced,
        data_start=data_start,
    )
