"""Walk the pages of an Ogg file: its chained streams, and whether pages are missing (RFC 3533)."""

from __future__ import annotations

from sonogloss.audio.byte_source import ByteSource
from sonogloss.audio.layout import Layout, Stream, is_harmless

_FIRST, _LAST = 2, 4


def ogg_layout(source: ByteSource, start: int) -> Layout:
    """The chained streams of an Ogg file whose first page is at `start`.

    A link ends where a stream begins after pages that begin none. It is damaged if a page is cut off or missing by its
    number, if bytes stand between pages, or if a stream does not end with a page that says so.
    """
    links, damaged = [start], False
    numbers: dict[bytes, int] = {}  # of the next page, by stream
    open_streams: set[bytes] = set()
    position, page, beginning = start, start, True
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
        page, position = position, position + 27 + head[26] + sum(head[27 : 27 + head[26]])
    cut = _whole_packets(source, page) if position > source.size else None
    damaged = damaged or position > source.size or bool(open_streams)
    if len(links) == 1 and start == 0 and cut is None:
        return Layout(damaged=damaged)
    stops = [*links[1:], source.size if cut is None else page]
    streams = [Stream(pieces=((first, stop),)) for first, stop in zip(links, stops, strict=True)]
    if cut is not None:
        streams[-1] = Stream(pieces=(*streams[-1].pieces, cut))
    return Layout(streams=tuple(streams), damaged=damaged)


def _whole_packets(source: ByteSource, position: int) -> bytes | None:
    """A page of the packets that are whole on the cut page at `position`; None if there are none.

    A short recording lies on one page, and decoders drop a page whose checksum is wrong.
    """
    page = source.read(position, source.size - position)
    sizes = page[27 : 27 + page[26]]
    body, count, length, kept = 27 + len(sizes), 0, 0, 0
    for number, size in enumerate(sizes, start=1):
        length += size
        if body + length > len(page):
            break
        if size < 255:
            count, kept = number, length
    if count == 0:
        return None
    head = page[:5] + bytes([page[5] & ~_LAST]) + page[6:22] + bytes(4) + bytes([count]) + sizes[:count]
    whole = head + page[body : body + kept]
    return whole[:22] + page_checksum(whole).to_bytes(4, "little") + whole[26:]


def _checksum_table() -> list[int]:
    table = []
    for value in range(256):
        crc = value << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
        table.append(crc)
    return table


_CHECKSUMS = _checksum_table()


def page_checksum(page: bytes) -> int:
    """The checksum of a page that has zeros in its place."""
    crc = 0
    for byte in page:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _CHECKSUMS[crc >> 24 ^ byte]
    return crc
