"""Zip: directories that are missing, wrong or long, and members that nobody should unpack."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from sonogloss.errors import ClipError, Code
from sonogloss.sources import SkipCode, Source, SourceLimits, open_source
from sonogloss.sources import zip as zip_container
from sonogloss.sources.handles import Window
from sonogloss.sources.packed import Inflate
from tests.archives import contents, listed, put, wav, zipped

MEMBERS = {f"{number}.wav": wav(number, frames) for number, frames in enumerate((234, 100, 490, 700))}


def ends(content: bytes) -> list[int]:
    """Where the data of each member end."""
    found = []
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            name_length, extra_length = struct.unpack_from("<HH", content, info.header_offset + 26)
            end = info.header_offset + 30 + name_length + extra_length + info.compress_size
            found.append(end + (16 if info.flag_bits & 8 else 0))
    return found


@pytest.mark.parametrize("deflate", [True, False], ids=["deflated", "stored"])
@pytest.mark.parametrize("streamed", [False, True], ids=["sizes first", "sizes behind"])
def test_a_zip_that_is_cut_anywhere_gives_its_whole_members_and_one_problem(
    deflate: bool, streamed: bool, tmp_path: Path
) -> None:
    content = zipped(MEMBERS, deflate=deflate, streamed=streamed)
    end_of_members = ends(content)
    cuts = {*range(30, len(content), 61), *(end + shift for end in end_of_members for shift in (-1, 0, 1))}
    for cut in sorted(cuts):
        sources, skipped = listed(put(tmp_path, "a.zip", content[:cut]))
        names = [source.member for source in sources]
        if not (streamed and not deflate):  # where nothing says how long a stored member is, none can be told apart
            assert names == [name for name, end in zip(MEMBERS, end_of_members, strict=True) if end <= cut]
        assert [found.code for found in skipped] == [Code.ARCHIVE_CORRUPT], cut
        assert {source.member: data for source, data in contents(sources)} == {
            name: MEMBERS[str(name)] for name in names
        }


def test_a_cut_zip_is_not_mistaken_for_the_whole_one_inside_it(tmp_path: Path) -> None:
    inner = zipped({"inner.wav": wav(9)}, deflate=False)
    content = zipped({"a.wav": wav(1), "b.zip": inner, "c.wav": wav(2, 3000)}, deflate=False)
    sources, skipped = listed(put(tmp_path, "a.zip", content[: content.index(b"c.wav") + 100]))
    assert [source.member for source in sources] == ["a.wav"]
    assert [(found.member, found.code) for found in skipped] == [
        ("b.zip", SkipCode.NESTED),
        (None, Code.ARCHIVE_CORRUPT),
    ]


def test_a_zip_with_something_before_it_or_a_comment(tmp_path: Path) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.comment = b"recorded in May PK\x05\x06"
        for name, content in MEMBERS.items():
            archive.writestr(name, content)
    for name, content in (
        ("a.zip", target.getvalue()),
        ("b.zip", b"#!/bin/sh\nself extracting\n" * 40 + target.getvalue()),
    ):
        sources, skipped = listed(put(tmp_path, name, content))
        assert skipped == []
        assert {source.member: data for source, data in contents(sources)} == MEMBERS


def test_zip64(tmp_path: Path) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("a.wav", "w", force_zip64=True) as member:
            member.write(wav(1))
        archive.writestr("b.wav", wav(2))
    content = bytearray(target.getvalue())
    # The directory moves behind the fields of 32 bits, as it does from 65,536 members on.
    end = content.rindex(b"PK\x05\x06")
    count, length, offset = *struct.unpack_from("<H", content, end + 10), *struct.unpack_from("<II", content, end + 12)
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, offset)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    sources, skipped = listed(put(tmp_path, "a.zip", bytes(content[:end]) + end64 + locator + tail))
    assert skipped == []
    assert [data for _, data in contents(sources)] == [wav(1), wav(2)]


def test_more_members_than_sixteen_bits_count(tmp_path: Path) -> None:
    sources, skipped = listed(
        put(tmp_path, "a.zip", zipped(dict.fromkeys(map("{:06d}.wav".format, range(65_540)), b"RIFF")))
    )
    assert skipped == []
    assert len(sources) == 65_540


def info(name: str, mode: int = 0) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    return made


def test_links_and_names_that_lead_outside_are_refused(tmp_path: Path) -> None:
    target = io.BytesIO()
    bad = [
        info("link.wav", 0o120777),
        info("pipe.wav", 0o010644),
        info("/abs.wav"),
        info("x/../../up.wav"),
        info("..\\up.wav"),
    ]
    with zipfile.ZipFile(target, "w") as archive:
        for each in [*bad, info("fine.wav", 0o100644), info("folder/", 0o040755)]:
            archive.writestr(each, "/etc/passwd")
    sources, skipped = listed(put(tmp_path, "a.zip", target.getvalue()))
    assert [source.member for source in sources] == ["fine.wav"]
    assert {found.member: found.code for found in skipped} == {each.filename: Code.ARCHIVE_UNSAFE for each in bad}


def test_of_members_with_one_name_the_first_is_read(tmp_path: Path) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a.wav", wav(1))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.wav", wav(2))
    path = put(tmp_path, "a.zip", target.getvalue())
    sources, skipped = listed(path)
    assert [data for _, data in contents(sources)] == [wav(1)]
    assert [(found.member, found.code) for found in skipped] == [("a.wav", Code.DUPLICATE_KEY)]
    assert [data for _, data in contents([Source(uri=path, member="a.wav")])] == [wav(1)]


def test_encrypted_members_and_unknown_methods_are_refused_in_words(tmp_path: Path) -> None:
    content = bytearray(zipped({"a.wav": wav(1), "b.wav": wav(2), "c.wav": wav(3)}))
    central = [at for at in range(len(content)) if content.startswith(b"PK\x01\x02", at)]
    content[central[0] + 8] |= 1
    struct.pack_into("<H", content, central[1] + 10, 9)
    sources, skipped = listed(put(tmp_path, "a.zip", bytes(content)))
    assert [source.member for source in sources] == ["c.wav"]
    assert [found.code for found in skipped] == [Code.UNSUPPORTED] * 2
    assert ["encrypted" in skipped[0].reason, "method 9" in skipped[1].reason] == [True, True]


def test_names_in_every_encoding(tmp_path: Path) -> None:
    content = zipped({"x1.wav": wav(1), "x2.wav": wav(2), "雨.wav": wav(3)})
    content = content.replace(b"x1", "é".encode()).replace(b"x2", "é".encode("cp437") + b"_")  # neither says what it is
    sources, _ = listed(put(tmp_path, "a.zip", content))
    assert [source.member for source in sources] == ["é.wav", "é_.wav", "雨.wav"]


def test_a_bomb_is_refused_and_silence_is_not(tmp_path: Path) -> None:
    path = put(tmp_path, "a.zip", zipped({"bomb.wav": b"RIFF" + bytes(4 << 20), "a.wav": wav(1)}))
    sources, skipped = listed(path, limits=SourceLimits(max_ratio=100, ratio_from_bytes=1 << 20))
    assert [source.member for source in sources] == ["a.wav"]
    assert [(found.member, found.code) for found in skipped] == [("bomb.wav", Code.LIMIT)]
    assert [len(data) for _, data in contents(listed(path)[0])] == [4 + (4 << 20), len(wav(1))]


def test_a_member_that_unpacks_to_more_than_it_says_gives_what_it_says(tmp_path: Path) -> None:
    content = zipped({"a.wav": wav(1)})
    size, shorter = struct.pack("<I", len(wav(1))), struct.pack("<I", 100)
    path = put(tmp_path, "a.zip", content.replace(size, shorter))
    (source,), _ = listed(path)
    assert source.bytes == 100
    with pytest.raises(ClipError, match="ARCHIVE_CORRUPT"), open_source(source):
        pass


def test_members_that_lie_on_one_another_end_the_archive(tmp_path: Path) -> None:
    """A quine of a zip: many entries of the directory share one member."""
    content = zipped({"a.wav": random.Random(0).randbytes(50_000)})
    central, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry = content[central:end]
    many = b"".join(entry.replace(b"a.wav", b"%05d" % number) for number in range(500))
    content = content[:central] + many + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 500, 500, len(many), central, 0)
    _, skipped = listed(put(tmp_path, "a.zip", content))
    assert skipped[-1].code == Code.ARCHIVE_UNSAFE


def test_a_damaged_member_costs_itself_only(tmp_path: Path) -> None:
    content = bytearray(zipped(MEMBERS))
    at = content.index(b"1.wav") + 60
    content[at : at + 20] = bytes(20)
    sources, skipped = listed(put(tmp_path, "a.zip", bytes(content)))
    assert skipped == []
    found = {source.member: data for source, data in contents(sources)}
    assert found == {**MEMBERS, "1.wav": "ARCHIVE_CORRUPT"}


def test_a_damaged_sidecar_costs_itself_only(tmp_path: Path) -> None:
    content = bytearray(zipped({"a.json": b'{"text": "' + b"abcdefgh" * 40 + b'"}', "a.wav": wav(1)}))
    at = content.index(b"a.json") + 10
    content[at : at + 6] = b"\xff" * 6
    sources, skipped = listed(put(tmp_path, "a.zip", bytes(content)))
    assert [(source.member, source.extra) for source in sources] == [("a.wav", {})]
    assert [(found.member, found.code) for found in skipped] == [("a.json", Code.ARCHIVE_CORRUPT)]


@pytest.mark.parametrize("deflate", [True, False], ids=["deflated", "stored"])
def test_a_long_member_is_streamed_and_can_be_read_anywhere(
    deflate: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_container, "_HELD", 1000)
    data = wav(1, 400_000)
    (source,), _ = listed(put(tmp_path, "a.zip", zipped({"a.wav": data}, deflate=deflate)))
    chance = random.Random(0)
    with open_source(source) as opened:
        for _ in range(40):
            at = chance.choice([0, chance.randrange(len(data)), len(data) - 5])
            opened.seek(at)
            assert opened.read(3000) == data[at : at + 3000]


def test_a_long_member_whose_packed_bytes_break_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_container, "_HELD", 1000)
    content = bytearray(zipped({"a.wav": wav(1, 400_000)}))
    content[500_000:500_200] = b"\xff" * 200
    (source,), _ = listed(put(tmp_path, "a.zip", bytes(content)))
    with pytest.raises(ClipError, match="ARCHIVE_CORRUPT"), open_source(source) as opened:
        assert len(opened.read()) < len(wav(1, 400_000))


def test_a_zip_that_changed_after_it_was_listed_is_noticed(tmp_path: Path) -> None:
    path = put(tmp_path, "a.zip", zipped(MEMBERS))
    sources, _ = listed(path)
    put(tmp_path, "a.zip", zipped({"new.wav": wav(9), **MEMBERS}))
    assert {data for _, data in contents(sources[1:])} == {"ARCHIVE_CORRUPT"}


def test_a_zip_of_nothing(tmp_path: Path) -> None:
    assert listed(put(tmp_path, "a.zip", zipped({}))) == ([], [])
    sources, skipped = listed(put(tmp_path, "b.zip", b"no zip"))
    assert (sources, [found.code for found in skipped]) == ([], [Code.ARCHIVE_CORRUPT])


def test_inflating_in_small_steps_loses_nothing() -> None:
    """The last bytes may wait inside the library after its input is used up."""
    data = b"RIFF" + bytes(100_000)
    packed = zlib.compress(data)[2:-4]
    inflate = Inflate(Window(io.BytesIO(packed), 0, len(packed)))
    pieces = []
    while piece := inflate.read(7):
        pieces.append(piece)
    assert b"".join(pieces) == data
    assert inflate.packed == len(packed)
