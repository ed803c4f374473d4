"""What names and first bytes say: audio, an archive, a companion of the system, something else.

The content decides where it is looked at. It is looked at for every file and member but those whose ending is one of
`AUDIO_ENDINGS` (the decoder will look) or `OTHER_ENDINGS` (nobody keeps sound under these names).
"""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from array import array
from collections.abc import Iterable
from typing import Any

from sonogloss.sources.source import SkipCode

_AUDIO = """
    .3g2 .3gp .aac .ac3 .aif .aifc .aiff .amr .ape .asf .au .avi .avr .caf .dts .flac .flv .htk .iff .m2ts .m4a .m4b
    .m4v .mka .mkv .mov .mp1 .mp2 .mp3 .mp4 .mpc .mpeg .mpg .mts .nist .oga .ogg .ogv .opus .paf .pvf .ra .rf64 .sd2
    .sds .sf .snd .sph .spx .svx .tta .voc .w64 .wav .wave .webm .wma .wmv .wv .xi
"""
_OTHER = """
    .aup .aup3 .bib .bmp .c .cfg .cls .conf .cpp .crc .css .csv .cue .db .doc .docx .eaf .eps .epub .gif .h .h5 .hdf5
    .heic .htm .html .ico .ini .ipynb .jams .jar .java .jpeg .jpg .js .json .jsonl .lab .lck .lock .log .lst .m3u .m3u8
    .mat .md .md5 .mid .midi .ndjson .nfo .npy .npz .ods .odt .onnx .part .pdf .pkl .pls .png .ppt .pptx .ps .pt .pth
    .py .pyc .rst .rtf .safetensors .sh .sha1 .sha256 .sqlite .srt .sub .svg .tex .textgrid .tif .tiff .tmp .toml
    .tsv .txt .url .vtt .webp .whl .xls .xlsx .xml .xspf .yaml .yml
"""
AUDIO_ENDINGS = frozenset(_AUDIO.split())
OTHER_ENDINGS = frozenset(_OTHER.split())  # listings among them: a listing is followed only where it is named itself

# Archives that hold recordings, and that nobody here reads.
FOREIGN_ARCHIVES = {
    ".7z": "a 7z archive",
    ".rar": "a RAR archive",
    ".tar.bz2": "a tar packed with bzip2",
    ".tbz2": "a tar packed with bzip2",
    ".tar.xz": "a tar packed with xz",
    ".txz": "a tar packed with xz",
    ".tar.lz4": "a tar packed with lz4",
}

_PACKINGS = (".gz", ".zst", ".bz2", ".xz")  # of single files

_SYSTEM_FILES = frozenset(
    {"@eadir", "__macosx", "thumbs.db", "desktop.ini", "system volume information", "$recycle.bin"}
)

_MAGIC = (
    b"RF64", b"fLaC", b"OggS", b"ID3", b"caff", b"riff\x2e\x91\xcf\x11", b".snd", b"#!AMR", b"\x1aE\xdf\xa3",
    b"0&\xb2u\x8ef\xcf\x11", b"FLV\x01", b"MAC ", b"wvpk", b"NIST_1A", b"Creative Voice File",
)  # fmt: skip


def ending(name: str) -> str:
    """The ending of a name in lower case, with its dot; the empty string without one."""
    return posixpath.splitext(posixpath.basename(name))[1].lower()


def has_ending(name: str, endings: tuple[str, ...]) -> bool:
    """Does a name end in one of these, in whichever case?"""
    return name.lower().endswith(endings)


def left_out(name: str) -> tuple[SkipCode, str] | None:
    """Why something of this name (one part of a path) is left out where it was not named itself; None if it is not."""
    if name.lower() in _SYSTEM_FILES or name.startswith("._") or name in (".DS_Store", ".AppleDouble"):
        return SkipCode.SYSTEM_FILE, "An operating system or a disk station keeps this beside the files."
    if name.startswith(".") and name not in (".", ".."):
        return SkipCode.HIDDEN, "Its name begins with a dot."
    return None


def foreign_archive(name: str) -> str | None:
    """In words, what kind of archive that nobody here reads has this name."""
    unpacked, packing = posixpath.splitext(name)
    if packing.lower() in _PACKINGS and ending(unpacked) in AUDIO_ENDINGS:
        return "a packed recording"
    return next((words for end, words in FOREIGN_ARCHIVES.items() if has_ending(name, (end,))), None)


def looks_like_audio(head: bytes) -> bool:
    """Are these the first bytes of a recording, or of a video that may hold one?"""
    if head[:4] in (b"RIFF", b"RIFX", b"FORM") and head[8:12] in (b"WAVE", b"AIFF", b"AIFC", b"AVI ", b"8SVX"):
        return True
    if (
        head.startswith(_MAGIC) or head[4:8] == b"ftyp" or head[:377:188] == b"GGG"
    ):  # the last is an MPEG transport stream
        return True
    # MPEG audio, layers II and III, and AAC: eleven or twelve set bits, then a bit rate and a sample rate that exist.
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    layer, rate, bits = head[1] >> 1 & 3, head[2] >> 2 & 3, head[2] >> 4
    if layer == 0:
        return head[1] & 0xF0 == 0xF0 and (head[2] >> 2 & 15) < 13
    return layer != 3 and head[1] >> 3 & 3 != 1 and rate != 3 and bits not in (0, 15)


def unsafe(name: str) -> str | None:
    """In words, why nobody should trust the name of a member; None for a name that stays inside its archive."""
    parts = name.replace("\\", "/").split("/")
    if not name or "\x00" in name:
        return "The member has no usable name."
    if parts[0] == "" or re.match(r"[A-Za-z]:[\\/]", name):
        return "The member has an absolute name."
    if ".." in parts:
        return "The member's name leads out of the archive."
    return None


def printable(name: str) -> str:
    r"""A name as text that any file or terminal takes: what is not UTF-8 becomes `\xNN`. See :func:`unprinted`."""
    try:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half an emoji
        return name.encode("utf-8", "backslashreplace").decode()


def printable_name(uri: str, member: str | None) -> tuple[str, str | None]:
    """The name of a recording as rows have it, see :func:`printable`."""
    return printable(uri), None if member is None else printable(member)


def unprinted(text: str) -> str:
    r"""The name behind a text of :func:`printable`: `\xNN` becomes the byte again."""
    raw = re.sub(
        rb"\\x([89a-f][0-9a-f])", lambda found: bytes([int(found[1], 16)]), text.encode("utf-8", "surrogatepass")
    )
    return os.fsdecode(raw)


def plain(name: str) -> str:
    """A name as it is compared where no name is equal: in Unicode's form NFC, without `./` (macOS writes NFD)."""
    return unicodedata.normalize("NFC", posixpath.normpath(name))


def id_text(value: Any) -> str | None:
    """What a table calls a row. A column of whole numbers of which some are missing comes as floats and NaN."""
    if value is None or value == "" or value != value:
        return None
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def storable(value: Any) -> Any:
    """A value as files take it: half emoji and bytes that are not UTF-8 become U+FFFD."""
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    return value


class SeenNames:
    """Which names came before, in 11 to 22 bytes a name: a table of 64-bit hashes.

    The hash is Python's own, keyed anew in every process, so nobody can make two names that collide.
    """

    def __init__(self, names: Iterable[object] = ()) -> None:
        self._table = array("Q", bytes(8 * 1024))
        self._count = 0
        for name in names:
            self.add(name)

    def add(self, name: object) -> bool:
        """Note a name; was it new?"""
        value = hash(name) & 0xFFFFFFFFFFFFFFFF or 1
        if not self._put(self._table, value):
            return False
        self._count += 1
        if self._count * 4 > len(self._table) * 3:
            larger = array("Q", bytes(16 * len(self._table)))
            for known in self._table:
                if known:
                    self._put(larger, known)
            self._table = larger
        return True

    def __contains__(self, name: object) -> bool:
        value = hash(name) & 0xFFFFFFFFFFFFFFFF or 1
        return self._table[self._slot(self._table, value)] == value

    def __len__(self) -> int:
        return self._count

    @classmethod
    def _put(cls, table: array[int], value: int) -> bool:
        slot = cls._slot(table, value)
        if table[slot]:
            return False
        table[slot] = value
        return True

    @staticmethod
    def _slot(table: array[int], value: int) -> int:
        """Where the value stands, or would."""
        slot, size = value % len(table), len(table)
        while table[slot] not in (0, value):
            slot = (slot + 1) % size
        return slot
