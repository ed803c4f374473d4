"""Which dumps there are: a path, a folder, a glob or a URL, and what of it is left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from sonogloss.errors import FormatError
from sonogloss.sources.names import left_out, printable
from sonogloss.sources.patterns import matches, resolve
from sonogloss.sources.places import Entry, Kind, walk
from sonogloss.sources.source import SkipCode, Skipped

# Files that lie beside captions and are named like captions.
_COMPANIONS = re.compile(
    r"(read[ _-]?me|licen[cs]es?|copying|notice|authors|changes|changelog|citation|contributing|requirements"
    r"|(md5|sha1|sha224|sha256|sha512)?[._-]?(check)?sums?|md5|sha1|sha256|sha512"
    r"|dataset_infos?|state|manifest|package)([._-][a-z]{2})?(\.[a-z0-9]+)*",
    re.IGNORECASE,
)
_CHECKSUMS = re.compile(r".*\.(md5|sha1|sha224|sha256|sha512|crc|crc32)(sums?)?(\.[a-z]+)?", re.IGNORECASE)


def find_dumps(text: str, known: Callable[[str], bool], *, option: str) -> Iterator[Entry | Skipped]:
    """The dumps that a pattern names. A file that is named itself is taken as it is.

    Args:
        text: the pattern.
        known: is a file of this name a kind that can be read?
        option: the option that names it, for messages.

    Raises:
        MissingInputError: nothing is there.
        FormatError: what is named itself is not a file.
    """
    pattern = resolve(text, option=option)
    entry = pattern.entry
    if entry is not None and entry.kind is not Kind.FOLDER:
        if entry.kind is not Kind.FILE:
            raise FormatError(f"{option} {text!r} is {entry.what}, not a file.", "Name a file.")
        yield entry
        return
    for found in walk(entry) if entry is not None else matches(pattern.place):
        if isinstance(found, Skipped):
            if found.failed:
                raise FormatError(f"{option}: {printable(found.uri)!r} cannot be read. {found.reason}", "Check it.")
            yield found
        elif found.kind is not Kind.FOLDER:
            yield _checked(found, known)


def _checked(entry: Entry, known: Callable[[str], bool]) -> Entry | Skipped:
    """A file that was not named itself."""
    if why := left_out(entry.name):
        return Skipped(uri=entry.uri, code=why[0], reason=why[1])
    if entry.kind is not Kind.FILE:
        return Skipped(uri=entry.uri, code=SkipCode.NOT_A_FILE, reason=f"This is {entry.what}.")
    if _COMPANIONS.fullmatch(entry.name) or _CHECKSUMS.fullmatch(entry.name):
        reason = "Its name is that of a description or a list of checksums; name it itself to read it."
        return Skipped(uri=entry.uri, code=SkipCode.NOT_CAPTIONS, reason=reason)
    if not known(entry.name):
        return Skipped(uri=entry.uri, code=SkipCode.NOT_CAPTIONS, reason="It is not a kind of dump that can be read.")
    return entry
