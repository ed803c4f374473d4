"""A folder of everything that people and crashes leave in a collection, with what has to become of each thing.

Small, written by code, and the same in every run.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.archives import wav
from tests.audio.hostile import ANY, Hostile, hostile_files
from tests.hostile.archives import archives
from tests.hostile.listings import listings

ROW = frozenset({"ROW"})
BAD_LISTING = frozenset({"BAD_ROW", "SKIP+NOT_AUDIO"})  # a folder's own listings are not followed


@dataclass(frozen=True, order=True)
class Thing:
    """A place in the corpus: a path below it, in the spelling of results, and the name inside an archive."""

    path: str
    member: str | None = None

    def __repr__(self) -> str:
        return self.path if self.member is None else f"{self.path}[{self.member}]"


Expected = dict[Thing, frozenset[str]]
"""What may become of each thing: ROW, ROW+FLAG, the code of a dead letter, or SKIP+code."""


def write_corpus(folder: Path) -> Expected:
    """Write the corpus into an empty folder. Things that a place may not be able to hold are left out."""
    expected: Expected = {}
    for file in hostile_files():
        _put(folder, f"sounds/{file.name}", file.data)
        expected[Thing(f"sounds/{file.name}")] = _readable(file)
    for name, (content, members) in archives().items():
        _put(folder, f"archives/{name}", content)
        for member, allowed in members.items():
            expected[Thing(f"archives/{name}", member)] = allowed
    for name, (content, found) in listings(folder / "listed").items():
        _put(folder, f"listings/{name}", content)
        for path, allowed in {f"listings/{name}": BAD_LISTING, **found}.items():
            expected[Thing(path)] = expected.get(Thing(path), frozenset()) | allowed
    for number in range(4):
        _put(folder, f"listed/{number}.wav", wav(900 + number))
    expected.update(_names(folder / "names"))
    expected.update(_doors(folder / "doors"))
    return expected


def _readable(file: Hostile) -> frozenset[str]:
    """A file whose header was changed may look like something that is no recording."""
    return file.allowed | {"SKIP+NOT_AUDIO", "ARCHIVE_CORRUPT"} if file.allowed == ANY else file.allowed


def _put(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


NAMES = [
    b"with space.wav", b"a::b.wav", b"[ab].wav", b"a*b?.wav", b"line\nbreak.wav", b"tab\t.wav", b"100%25.wav",
    b"#hash.wav", b"-dash.wav", b"~tilde.wav", b"$HOME.wav", b"{a,b}.wav", b"quote'\".wav", b"back\\slash.wav",
    b"UPPER.WAV", b"a.b.c.wav", b"memory:x.wav", b"file:x.wav", b"x" * 240 + b".wav", b"\xff\xfe.wav", b"half\xe4.wav",
    "\u00e9\u4e2d\U0001f415.wav".encode(), "e\u0301.wav".encode(), "\u202egnol.wav".encode(),
]  # fmt: skip


def _names(folder: Path) -> Iterator[tuple[Thing, frozenset[str]]]:
    folder.mkdir()
    for number, name in enumerate(NAMES):
        try:
            with open(os.fsencode(folder) + b"/" + name, "wb") as file:
                file.write(wav(100 + number))
        except OSError:  # a file system with other rules
            continue
        yield Thing(f"names/{os.fsdecode(name)}"), ROW


def _doors(folder: Path) -> Iterator[tuple[Thing, frozenset[str]]]:
    """What must not be opened, and links."""
    folder.mkdir()
    for name, allowed in (
        ("sound.wav", ROW),
        (".hidden.wav", "SKIP+HIDDEN"),
        ("._sound.wav", "SKIP+SYSTEM_FILE"),
        ("Thumbs.db", "SKIP+SYSTEM_FILE"),
        ("notes.txt", "SKIP+NOT_AUDIO"),
        ("deep/er/sound.wav", ROW),
    ):
        _put(folder, name, wav(200) if name.endswith(".wav") else b"no sound\n")
        yield Thing(f"doors/{name}"), allowed if isinstance(allowed, frozenset) else frozenset({allowed})
    for name, code in (("@eaDir", "SYSTEM_FILE"), ("__MACOSX", "SYSTEM_FILE"), (".git", "HIDDEN")):
        _put(folder, f"{name}/a.wav", wav(201))
        yield Thing(f"doors/{name}"), frozenset({f"SKIP+{code}"})
    specials: dict[str, Callable[[Path], object]] = {
        "pipe.wav": os.mkfifo,
        "socket.wav": _socket,
        "nowhere.wav": lambda path: path.symlink_to("missing.wav"),
        "itself.wav": lambda path: path.symlink_to("itself.wav"),
        "null.wav": lambda path: path.symlink_to("/dev/null"),
    }
    for name, make in specials.items():
        make(folder / name)
        yield Thing(f"doors/{name}"), frozenset({"SKIP+NOT_A_FILE"})
    (folder / "link.wav").symlink_to("sound.wav")
    yield Thing("doors/link.wav"), ROW
    (folder / "deep" / "up").symlink_to("..")
    yield Thing("doors/deep/up"), frozenset({"SKIP+LOOP"})


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(path.parent, os.O_RDONLY)
        try:
            listener.bind(f"/proc/self/fd/{here}/{path.name}")  # its own path may be longer than a socket's can be
        finally:
            os.close(here)
