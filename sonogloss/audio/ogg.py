"""Walk the pages of an Ogg file: its chained streams, and whether pages are missing (RFC 3533)."""

from __future__ import annotations

from sonogloss.audio.byte_source import ByteSource
from sonogloss.audio.layout import Layout, Stream, is_harmless

_CONTINUED, _FIRST, _LAST = 1, 2, 4


def ogg_layout(source: ByteSource, start: int) -> Layout:
    """The chained streams of an Ogg file whose first page is at `start`.

    A link ends where a stream begins after pages that begin none. It is damaged if a page is cut off or missing by its
    number, if bytes stand between pages, or if a stream does not end with a page that says so.
    """
    links, damaged = [start], False
    numbers: dict[bytes, int] = {}  # of the next page, by stream
    open_streams: set[bytes] = set()
    position, beginning = start, True
    while position < source.size:
        head = source.read(position, 27 + 255)
        if not head.startswith(b"OggS"):
            if is_harmless(source, position):
                break
            damaged = True
            found = source.find(b"OggS", position + 1)
            if found < 0:
                break
            position = found
            continue
        if len(head) < 27 or len(head) < 27 + head[26]:
            damaged = True
            break
        kind, serial, number = head[5], head[14:18], int.from_bytes(head[18:22], "little")
        if kind & _FIRST:
            if not beginning:
                links.append(position)
                damaged = damaged or bool(open_streams)
                numbers, open_streams = {}, set()
            open_streams.add(serial)
        elif numbers.get(serial) != number:
            damaged = True
        beginning = bool(kind & _FIRST)
        numbers[serial] = number + 1
        if kind & _LAST:
            open_streams.discard(serial)
        position += 27 + head[26] + sum(head[27 : 27 + head[26]])
    if position > source.size or open_streams:
        damaged = True
    if len(links) == 1 and start == 0:
        return Layout(damaged=damaged)
    stops = [*links[1:], source.size]
    streams = tuple(Stream(pieces=((first, stop),)) for first, stop in zip(links, stops, strict=True))
    return Layout(streams=streams, damaged=damaged)
