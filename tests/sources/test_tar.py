"""Tar: what cuts and bytes in headers do, and what nobody should believe."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
import zstandard

from sonogloss.errors import Code
from sonogloss.sources import SkipCode, Source, SourceLimits, open_source
from tests.archives import contents, listed, put, tar, tar_of, wav

MEMBERS = {f"{number}.wav": wav(number, frames) for number, frames in enumerate((234, 100, 490, 700))}


def whole_members(cut: int) -> list[str]:
    """The members of the plain tar of MEMBERS that end before a cut."""
    with tarfile.open(fileobj=io.BytesIO(tar(MEMBERS))) as archive:
        return [info.name for info in archive if info.offset_data + info.size <= cut]


def without_end(members: dict[str, bytes]) -> bytes:
    """A tar without its end mark, to join something on."""
    return tar(members)[: sum(512 + -(-len(content) // 512) * 512 for content in members.values())]


@pytest.mark.parametrize("shift", [0, 1, 300])
def test_a_tar_that_is_cut_anywhere_gives_its_whole_members_and_one_problem(shift: int, tmp_path: Path) -> None:
    content = tar(MEMBERS)
    end = content.rstrip(b"\x00").__len__() // 512 * 512 + 512
    for cut in range(512, len(content), 512):
        sources, skipped = listed(put(tmp_path, "a.tar", content[: cut - shift]))
        assert [source.member for source in sources] == whole_members(cut - shift)
        assert {source.member: data for source, data in contents(sources)} == {
            name: MEMBERS[name] for name in whole_members(cut - shift)
        }
        expected = [] if cut - shift >= end + 512 else [Code.ARCHIVE_CORRUPT]
        assert [found.code for found in skipped] == expected, cut
        assert all(found.member is None and found.byte_offset is not None for found in skipped)


@pytest.mark.parametrize("pack", [lambda data: gzip.compress(data, mtime=0), zstandard.compress], ids=["gz", "zst"])
def test_a_packed_tar_that_is_cut_gives_whole_members_and_one_problem(pack, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    members = {f"{number}.wav": wav(number, 40_000) for number in range(5)}
    content = pack(tar(members))
    lost = []
    for cut in [*range(20, len(content), len(content) // 37), len(content) - 1]:
        path = put(tmp_path, "a.tar.x", content[:cut])
        path = put(tmp_path, "a.tar.gz", content[:cut])
        sources, skipped = listed(path)
        names = [source.member for source in sources]
        assert names == list(members)[: len(names)]
        assert all(data == members[str(source.member)] for source, data in contents(sources))
        if len(names) < len(members):
            assert [found.code for found in skipped] == [Code.ARCHIVE_CORRUPT], cut
        lost.append(len(members) - len(names))
    assert lost == sorted(lost, reverse=True)
    assert lost[0] == 5


def test_the_members_behind_the_cut_are_errors_when_they_are_opened(tmp_path: Path) -> None:
    members = {f"{number}.wav": wav(number, 40_000) for number in range(4)}
    content = gzip.compress(tar(members), mtime=0)
    path = put(tmp_path, "a.tar.gz", content)
    sources, _ = listed(path)
    put(tmp_path, "a.tar.gz", content[: len(content) // 2])
    found = [data if isinstance(data, str) else "bytes" for _, data in contents(sources)]
    assert sorted(found) == ["ARCHIVE_CORRUPT", "ARCHIVE_CORRUPT", "ARCHIVE_CORRUPT", "bytes"]


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_tars_that_were_joined_give_the_members_of_both(ending: str, tmp_path: Path) -> None:
    more = {"more.wav": wav(50)}
    joined = tar(MEMBERS) + tar(more)
    sources, skipped = listed(put(tmp_path, f"a{ending}", gzip.compress(joined) if ending == ".tar.gz" else joined))
    assert skipped == []
    assert {source.member: data for source, data in contents(sources)} == {**MEMBERS, **more}


def test_what_stands_behind_the_end_and_is_no_member_is_said(tmp_path: Path) -> None:
    sources, skipped = listed(put(tmp_path, "a.tar", tar(MEMBERS) + b"junk" * 256))
    assert len(sources) == len(MEMBERS)
    assert [found.code for found in skipped] == [Code.ARCHIVE_CORRUPT]


def test_a_tar_by_name_that_is_none_is_one_problem(tmp_path: Path) -> None:
    for name, content in (("a.tar", b"x" * 2000), ("b.tar.gz", gzip.compress(b"x" * 2000)), ("c.tar", b"")):
        sources, skipped = listed(put(tmp_path, name, content))
        assert sources == []
        assert [found.code for found in skipped] == [Code.ARCHIVE_CORRUPT], name


def test_an_empty_tar_is_empty(tmp_path: Path) -> None:
    assert listed(put(tmp_path, "a.tar", tar({}))) == ([], [])


def test_long_and_odd_names(tmp_path: Path) -> None:
    members = {
        "n" * 90 + "/" + "m" * 150 + ".wav": wav(1),
        "caf\udce9.wav": wav(2),
        "take [1]::x\n.wav": wav(3),
        "./dot.wav": wav(4),
        "雨.wav": wav(5),
    }
    for number, format_ in enumerate((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)):
        sources, skipped = listed(put(tmp_path, f"{number}.tar", tar(members, format_=format_)))
        assert skipped == []
        assert {source.member: data for source, data in contents(sources)} == members


def test_a_tar_of_before_ustar(tmp_path: Path) -> None:
    """Version 7 has no magic: only the checksum says that this is a header."""
    info = tarfile.TarInfo("old.wav")
    info.size = len(wav(1))
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    block[156:157] = b"\x00"
    block[257:512] = bytes(255)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\x00 " % sum(block)
    content = bytes(block) + wav(1).ljust(1024, b"\x00") + bytes(1024)
    sources, skipped = listed(put(tmp_path, "old", content))
    assert skipped == []
    assert [data for _, data in contents(sources)] == [wav(1)]


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def test_links_devices_pipes_and_names_that_lead_outside_are_refused(tmp_path: Path) -> None:
    infos = [
        link("sym.wav", tarfile.SYMTYPE),
        link("hard.wav", tarfile.LNKTYPE),
        link("null.wav", tarfile.CHRTYPE),
        link("disk.wav", tarfile.BLKTYPE),
        link("pipe.wav", tarfile.FIFOTYPE),
        tarfile.TarInfo("/etc/abs.wav"),
        tarfile.TarInfo("a/../../up.wav"),
        tarfile.TarInfo("..\\up.wav"),
        tarfile.TarInfo("C:\\x.wav"),
    ]
    path = put(tmp_path, "a.tar", tar_of(*infos, link("folder", tarfile.DIRTYPE), tarfile.TarInfo("fine.wav")))
    sources, skipped = listed(path)
    assert [source.member for source in sources] == ["fine.wav"]
    assert {found.member: found.code for found in skipped} == {info.name: Code.ARCHIVE_UNSAFE for info in infos}
    assert [data for _, data in contents([Source(uri=path, member="sym.wav")])] == ["ARCHIVE_UNSAFE"]


def test_of_members_with_one_name_the_first_is_read(tmp_path: Path) -> None:
    content = without_end({"a.wav": wav(1)}) + tar({"./a.wav": wav(2), "b.wav": wav(3)})
    sources, skipped = listed(put(tmp_path, "a.tar", content))
    assert [data for _, data in contents(sources)] == [wav(1), wav(3)]
    assert [(found.member, found.code) for found in skipped] == [("./a.wav", Code.DUPLICATE_KEY)]


def test_what_systems_leave_in_tars_is_left_out(tmp_path: Path) -> None:
    members = {
        "d/a.wav": wav(1),
        "d/._a.wav": b"\x00\x05\x16\x07",
        "__MACOSX/a.wav": b"x",
        "d/.DS_Store": b"x",
        ".hidden/a.wav": wav(2),
        "d/cover.jpg": b"x",
        "d/data.bin": b"x",
        "d/sound.bin": wav(3),
    }
    sources, skipped = listed(put(tmp_path, "a.tar", tar(members)))
    assert [source.member for source in sources] == ["d/a.wav", "d/sound.bin"]
    assert {found.member: found.code for found in skipped} == {
        "d/._a.wav": SkipCode.SYSTEM_FILE,
        "__MACOSX/a.wav": SkipCode.SYSTEM_FILE,
        "d/.DS_Store": SkipCode.SYSTEM_FILE,
        ".hidden/a.wav": SkipCode.HIDDEN,
        "d/cover.jpg": SkipCode.NOT_AUDIO,
        "d/data.bin": SkipCode.NOT_AUDIO,
    }


def test_a_sparse_member_is_refused_and_the_next_is_found(tmp_path: Path) -> None:
    info = tarfile.TarInfo("sparse.wav")
    info.size = 512
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[156:157] = b"S"
    block[482] = 1
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\x00 " % sum(block)
    more = bytearray(512)
    content = bytes(block) + bytes(more) + b"d" * 512 + tar({"a.wav": wav(1)})
    sources, skipped = listed(put(tmp_path, "a.tar", content))
    assert [data for _, data in contents(sources)] == [wav(1)]
    assert [(found.member, found.code) for found in skipped] == [("sparse.wav", Code.UNSUPPORTED)]


@pytest.mark.parametrize(
    "records",
    [
        b"30 size=99999999999999999999\n",
        b"12 size=-100\n",
        b"11 size=xx\n",
        b"99 path=short\n",
        b"junk",
        b"13 mtime=inf\n",
    ],
)
def test_extended_headers_that_lie_are_one_problem(records: bytes, tmp_path: Path) -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, len(records)
    content = without_end({"a.wav": wav(1)}) + header.tobuf() + records.ljust(512, b"\x00") + tar({"b.wav": wav(2)})
    sources, skipped = listed(put(tmp_path, "a.tar", content))
    assert [source.member for source in sources] == ["a.wav"]
    assert [found.code for found in skipped] == [Code.ARCHIVE_CORRUPT]


def test_a_size_beyond_the_end_takes_no_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("huge.wav")
    info.size = 1 << 60
    header = info.tobuf(tarfile.GNU_FORMAT)
    for name, content in (("a.tar", header + b"RIFF"), ("a.tar.gz", gzip.compress(header + b"RIFF"))):
        sources, skipped = listed(put(tmp_path, name, content))
        assert sources == []
        assert {found.code for found in skipped} <= {Code.ARCHIVE_CORRUPT, Code.LIMIT}


def test_an_extended_header_without_end_is_not_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("name")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    _, skipped = listed(put(tmp_path, "a.tar", header.tobuf(tarfile.GNU_FORMAT) + bytes(1024)))
    assert [found.code for found in skipped] == [Code.LIMIT]


def test_caps(tmp_path: Path) -> None:
    members = {"a.wav": wav(1), "b.wav": wav(2, 3000), "c" * 300 + ".wav": wav(3), "d.wav": wav(4)}
    plain, packed = put(tmp_path, "a.tar", tar(members)), put(tmp_path, "a.tar.gz", gzip.compress(tar(members)))
    for path, limits in (
        (plain, SourceLimits(max_bytes=2000, max_name_bytes=200)),
        (packed, SourceLimits(max_member_bytes=2000, max_name_bytes=200)),
    ):
        sources, skipped = listed(path, limits=limits)
        assert [source.member for source in sources] == ["a.wav", "d.wav"]
        assert [(str(found.member)[:1], found.code) for found in skipped] == [("b", Code.LIMIT), ("c", Code.LIMIT)]
        assert all(len(found.member or "") <= 200 for found in skipped)
        assert [data for _, data in contents([Source(uri=path, member="b.wav")], limits)] == ["LIMIT"]
    sources, skipped = listed(plain, limits=SourceLimits(max_members=2))
    assert [source.member for source in sources] == ["a.wav", "b.wav"]
    assert [(found.member, found.code) for found in skipped] == [(None, Code.LIMIT)]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gz", "zst"])
def test_a_bomb_is_not_unpacked(pack, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    members = {"a.wav": wav(1), "bomb.wav": b"RIFF" + bytes(4 << 20), "c.wav": wav(2)}
    path = put(tmp_path, "a.tar.gz", pack(tar(members)))
    limits = SourceLimits(max_ratio=100, ratio_from_bytes=1 << 20)
    sources, skipped = listed(path, limits=limits)
    assert [source.member for source in sources] == ["a.wav"]
    assert [(found.member, found.code) for found in skipped] == [(None, Code.LIMIT)]
    assert len(listed(path)[0]) == 3  # silence of this length is no bomb


def test_many_small_members_that_are_alike_are_no_bomb(tmp_path: Path) -> None:
    content = gzip.compress(tar({f"{number:05d}.wav": b"RIFF" + bytes(60_000) for number in range(40)}))
    limits = SourceLimits(max_ratio=20, ratio_from_bytes=100_000)
    assert len(listed(put(tmp_path, "a.tar.gz", content), limits=limits)[0]) == 40


def test_a_plain_tar_that_changed_after_it_was_listed_is_noticed(tmp_path: Path) -> None:
    path = put(tmp_path, "a.tar", tar(MEMBERS))
    sources, _ = listed(path)
    put(tmp_path, "a.tar", tar({"new.wav": wav(9), **MEMBERS}))
    assert [data for _, data in contents(sources)] == ["READ_ERROR"] * 4


def test_listing_a_plain_tar_reads_no_more_than_headers_and_first_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sonogloss.sources import handles

    read = 0
    original = handles.Window._read_at

    def counting(self: handles.Window, position: int, count: int) -> bytes:
        nonlocal read
        data = original(self, position, count)
        read += len(data)
        return data

    path = put(tmp_path, "a.tar", tar({f"{number}.wav": wav(number, 1 << 20) for number in range(6)}))
    monkeypatch.setattr(handles.Window, "_read_at", counting)
    sources, _ = listed(path)
    assert len(sources) == 6
    assert read < 500_000  # of 12 MB; looking what it is reads a buffer


def test_a_member_may_be_read_in_place_whatever_the_limit_for_memory(tmp_path: Path) -> None:
    path = put(tmp_path, "a.tar", tar({"a.wav": wav(1, 5000)}))
    limits = SourceLimits(max_member_bytes=100)
    (source,), _ = listed(path, limits=limits)
    with open_source(source, limits=limits) as opened:
        assert opened.read() == wav(1, 5000)
