"""Patterns: a path, a folder, a glob or a URL becomes what lies there.

A path that exists is meant literally, and so is every part of a pattern that does: `night [2020]/*.wav` is a folder of
that name. `*`, `?` and `[...]` match within a name and not its leading dot; `**` is any folder below, as
:func:`~sonogloss.sources.places.walk` walks them. What only its dot keeps from matching is said to be left out.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from sonogloss.errors import ClipError, MissingInputError
from sonogloss.sources.names import left_out
from sonogloss.sources.places import Entry, Kind, look, scan, walk
from sonogloss.sources.source import Skipped
from sonogloss.urls import is_url

_MAGIC = frozenset("*?[")


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A pattern that names something.

    Attributes:
        text: as it was written.
        place: absolute.
        entry: what lies there under that very name; None when it is a glob.
    """

    text: str
    place: str
    entry: Entry | None


def resolve(text: str, *, option: str) -> Pattern:
    """Find out whether a pattern is a path or a glob, and that something is there. Not more of it is looked at.

    Raises:
        MissingInputError: nothing is there, or nobody can say; `option` is named in the message.
        OptionError: nobody here knows the protocol of a URL.
    """
    remedy = "Check the path; quote globs, `**` walks sub-folders."
    if not text:
        raise MissingInputError(f"{option} is empty.", remedy)
    place = absolute(text)
    try:
        entry = look(place)
        glob = entry is None and bool(_MAGIC & set(place))
        there: Entry | Skipped | None = entry
        if glob:
            there = next(matches(place), None)
        elif entry is not None and entry.kind is Kind.FOLDER:
            there = next(
                (found for found in walk(entry) if isinstance(found, Skipped) or found.kind is not Kind.FOLDER), None
            )
    except ClipError as error:
        raise MissingInputError(f"{option} {text!r} cannot be read. {error.message}", "Check the path.") from error
    if there is None:
        what = "matches no file" if glob else "does not exist or holds no file"
        raise MissingInputError(f"{option} {text!r} {what}.", remedy)
    return Pattern(text=text, place=place, entry=entry)


def absolute(text: str) -> str:
    """A path or pattern, absolute and normal: a file has one name, and so one id, whichever way it was written."""
    if os.path.lexists(text) and not text.startswith("~/"):
        return os.path.abspath(text)
    if is_url(text):
        return text
    for protocol in ("file://", "local://"):
        text = text.removeprefix(protocol)
    return os.path.abspath(os.path.expanduser(text))


def matches(place: str) -> Iterator[Entry | Skipped]:
    """The files that an absolute pattern names, sorted within each folder, and what was left out among them."""
    root, rest = ("/", place) if not is_url(place) else _split_url(place)
    parts = [part for part in rest.split("/") if part]
    yield from _matches(root, parts, set())


def _split_url(url: str) -> tuple[str, str]:
    protocol, _, rest = url.partition("://")
    bucket, slash, rest = rest.partition("/")
    if _MAGIC & set(bucket):  # memory://*.wav
        return f"{protocol}://", f"{bucket}{slash}{rest}"
    return f"{protocol}://{bucket}", rest


def _matches(folder: str, parts: list[str], entered: set[object]) -> Iterator[Entry | Skipped]:
    """What matches below a folder. `entered` are the folders in which each part was looked for."""
    part, rest = parts[0], parts[1:]
    if part == "**":
        while rest and rest[0] == "**":
            rest = rest[1:]
        top = look(folder)
        for found in walk(top) if top is not None else ():
            if isinstance(found, Skipped):
                yield found
            elif found.kind is Kind.FOLDER:
                yield from _matches(found.uri, rest or ["*"], entered)
        return
    for entry in _named(folder, part):
        if isinstance(entry, Skipped):
            if entry.failed or not rest:
                yield entry
        elif not rest:
            if entry.kind is not Kind.FOLDER:
                yield entry
        elif entry.kind is Kind.FOLDER and (len(rest), entry.identity) not in entered:
            entered.add((len(rest), entry.identity))
            yield from _matches(entry.uri, rest, entered)


def _named(folder: str, part: str) -> Iterator[Entry | Skipped]:
    """What one part of a pattern names in a folder: links to folders last."""
    later: list[Entry] = []
    try:
        literal = look(f"{'' if folder == '/' else folder.removesuffix('/')}/{part}")
        if literal is not None:
            yield literal
        for entry in chain.from_iterable(scan(folder)) if literal is None and _MAGIC & set(part) else ():
            if not fnmatch.fnmatchcase(entry.name, part):
                continue
            if entry.linked and entry.kind is Kind.FOLDER:
                later.append(entry)
            else:
                yield _unless_left_out(entry, part)
    except ClipError as error:
        yield Skipped(uri=folder, code=error.code, reason=error.message)
    yield from (_unless_left_out(entry, part) for entry in later)


def _unless_left_out(entry: Entry, part: str) -> Entry | Skipped:
    why = None if part.startswith(".") else left_out(entry.name)
    return Skipped(uri=entry.uri, code=why[0], reason=why[1]) if why else entry
