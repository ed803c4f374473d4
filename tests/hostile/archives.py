"""Archives as crashes, tools and attackers leave them."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Mapping

import pyarrow as pa
import zstandard

from tests.archives import ARCHIVES, parquet, parquet_of, tar, wav, zipped
from tests.audio.hostile import encoded, tone, valid

ROW = frozenset({"ROW"})
Members = Mapping[str | None, frozenset[str]]
GOOD = {f"{name}.wav": wav(300 + number) for number, name in enumerate("abc")}
MIXED = {
    **GOOD,
    "text.wav": b"no sound at all\n" * 9,
    "empty.wav": b"",
    "cut.wav": wav(310)[:300],
    "a.json": b'{"caption": "a dog"}',
    "lost.json": b'{"caption": "a dog"}',
    "b.json": b"{no json",
    "readme.txt": b"hello",
    ".hidden.wav": wav(311),
    "__MACOSX/._a.wav": wav(312),
    "inner.zip": zipped({"x.wav": wav(313)}),
    "no ending": wav(314),
    "deep/\u00e9\u4e2d.wav": wav(315),
}
MIXED_MEMBERS: dict[str | None, frozenset[str]] = {
    **dict.fromkeys(GOOD, ROW),
    "text.wav": frozenset({"UNSUPPORTED"}),
    "empty.wav": frozenset({"EMPTY"}),
    "cut.wav": frozenset({"ROW+TRUNCATED"}),
    "lost.json": frozenset({"SKIP+NOT_AUDIO"}),
    "b.json": frozenset({"SKIP+SIDECAR"}),
    "readme.txt": frozenset({"SKIP+NOT_AUDIO"}),
    ".hidden.wav": frozenset({"SKIP+HIDDEN"}),
    "__MACOSX/._a.wav": frozenset({"SKIP+SYSTEM_FILE"}),
    "inner.zip": frozenset({"SKIP+NESTED"}),
    "no ending": ROW,
    "deep/\u00e9\u4e2d.wav": ROW,
}
BROKEN = frozenset({"ARCHIVE_CORRUPT"})
UNSAFE = frozenset({"ARCHIVE_UNSAFE"})


def archives() -> dict[str, tuple[bytes, Members]]:
    """Content and members of each archive; None is the archive itself."""
    good = dict.fromkeys(GOOD, ROW)
    found: dict[str, tuple[bytes, Members]] = {f"good.{name}": (build(GOOD), good) for name, build in ARCHIVES.items()}
    found |= {f"mixed.{name}": (ARCHIVES[name](MIXED), MIXED_MEMBERS) for name in ("a.tar", "a.tar.gz", "deflated.zip")}
    found |= _cut()
    found |= _unsafe()
    found |= _wrong()
    found |= _tables()
    return found


def _cut() -> dict[str, tuple[bytes, Members]]:
    """Cut off in the second member, in a header, or behind the last member; and what is no archive."""
    plain = tar(GOOD)
    second = {"a.wav": ROW, None: BROKEN}
    return {
        "cut.tar": (plain[: 1024 + 1024 + 600], second),
        "cut_in_header.tar": (plain[: 2 * 1536 + 200], {"a.wav": ROW, "b.wav": ROW, None: BROKEN}),
        "no_end.tar": (plain[: 3 * 1536], {**dict.fromkeys(GOOD, ROW), None: BROKEN}),
        "cut.tar.gz": (gzip.compress(plain, mtime=0)[:-1200], {"a.wav": ROW, None: BROKEN}),
        "cut.tar.zst": (zstandard.compress(plain)[:-100], {None: BROKEN}),
        "cut.zip": (zipped(GOOD)[:-40], {**dict.fromkeys(GOOD, ROW), None: BROKEN}),
        "head_only.zip": (zipped(GOOD)[:100], {None: BROKEN}),
        "cut.parquet": (parquet(GOOD)[:-40], {None: BROKEN}),
        "empty.tar": (b"", {None: frozenset({"SKIP+NOT_AUDIO", *BROKEN})}),
        "empty.zip": (b"", {None: frozenset({"SKIP+NOT_AUDIO", *BROKEN})}),
        "text.tar": (b"no archive at all\n" * 90, {None: BROKEN}),
        "text.zip": (b"no archive at all\n" * 90, {None: BROKEN}),
        "text.parquet": (b"no table at all\n" * 90, {None: BROKEN}),
    }


def _unsafe() -> dict[str, tuple[bytes, Members]]:
    bad = ["../out.wav", "/root.wav", "a/../../out.wav"]
    members = {**dict.fromkeys(bad, wav(320)), "good.wav": wav(321)}
    found: dict[str, tuple[bytes, Members]] = {}
    outcome = {**dict.fromkeys(bad, UNSAFE), "good.wav": ROW}
    found["names.tar"] = (tar(members), outcome)
    found["names.zip"] = (zipped(members), outcome)
    target = io.BytesIO()
    kinds = {
        "sym.wav": tarfile.SYMTYPE,
        "hard.wav": tarfile.LNKTYPE,
        "dev.wav": tarfile.CHRTYPE,
        "pipe.wav": tarfile.FIFOTYPE,
    }
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, kind in kinds.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
        for seed in (322, 323):
            entry = tarfile.TarInfo("twice.wav")
            entry.size = len(wav(seed))
            archive.addfile(entry, io.BytesIO(wav(seed)))
    found["kinds.tar"] = (
        target.getvalue(),
        {**dict.fromkeys(kinds, UNSAFE), "twice.wav": frozenset({"ROW", "DUPLICATE_KEY"})},
    )
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(zipfile.ZipInfo("good.wav"), wav(324))
        info = zipfile.ZipInfo("bomb.wav")
        info.compress_type = zipfile.ZIP_DEFLATED
        with packed.open(info, "w") as bomb:
            for _ in range(65):
                bomb.write(bytes(1 << 20))
    found["bomb.zip"] = (target.getvalue(), {"good.wav": ROW, "bomb.wav": frozenset({"LIMIT"})})
    return found


def _wrong() -> dict[str, tuple[bytes, Members]]:
    """Archives under other names, and with damage inside a member."""
    deflated = bytearray(zipped({**GOOD, "b.wav": encoded(tone(), "WAV")}))
    at = deflated.index(b"b.wav") + 400
    deflated[at : at + 20] = bytes(20)
    flac = tar({"a.flac": valid()["flac"], "b.m4a": valid()["m4a"], "c.mp3": valid()["mp3"]})
    return {
        "damaged.zip": (bytes(deflated), {"a.wav": ROW, "b.wav": frozenset({*BROKEN, "ROW+TRUNCATED"}), "c.wav": ROW}),
        "tar_inside.zip": (tar(GOOD), dict.fromkeys(GOOD, ROW)),
        "zip_inside.tar": (zipped(GOOD), dict.fromkeys(GOOD, ROW)),
        "no_ending": (tar(GOOD), dict.fromkeys(GOOD, ROW)),
        "formats.tar": (flac, {"a.flac": ROW, "b.m4a": ROW, "c.mp3": ROW}),
        "archive.7z": (b"7z\xbc\xaf\x27\x1c" + bytes(100), {None: frozenset({"UNSUPPORTED"})}),
        "archive.rar": (b"Rar!\x1a\x07\x01\x00" + bytes(100), {None: frozenset({"UNSUPPORTED"})}),
    }


def _tables() -> dict[str, tuple[bytes, Members]]:
    sounds = pa.array([wav(330), None, b"", b"no sound at all"], pa.binary())
    rows = pa.table({"audio": sounds, "text": ["a", "b", "c", "d"]})
    empty = frozenset({"EMPTY"})
    codes = (ROW, empty, empty, frozenset({"UNSUPPORTED"}))
    return {"rows.parquet": (parquet_of(rows), {f"row-{number:08d}": code for number, code in enumerate(codes)})}
