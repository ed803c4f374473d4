"""Which recordings there are: patterns in, sources and what was left out of them out, one at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sonogloss.errors import ClipError, Code, FormatError
from sonogloss.sources import listing
from sonogloss.sources.names import (
    AUDIO_ENDINGS,
    OTHER_ENDINGS,
    SeenNames,
    ending,
    foreign_archive,
    has_ending,
    left_out,
)
from sonogloss.sources.patterns import Pattern, matches, resolve
from sonogloss.sources.places import Entry, Kind, walk
from sonogloss.sources.registry import container, kind_of
from sonogloss.sources.source import SkipCode, Skipped, Source, SourceLimits


def list_sources(
    patterns: Iterable[str | os.PathLike[str]],
    *,
    option: str = "--audio",
    limits: SourceLimits | None = None,
    exclude_suffixes: Sequence[str] = (),
    look: Look | None = None,
) -> Iterator[Source | Skipped]:
    """The recordings that patterns name, in their order, each once.

    A file that is named itself, by its path or by a glob, is what its content says: a recording, an archive, or, where
    the path or the glob ends like one, a listing; what nobody knows is a recording too, for the decoder to judge. Of a
    folder, recordings and archives are taken, and all else is left out with a reason. The patterns are checked at once,
    the rest is streamed.

    Args:
        patterns: paths of files and folders, globs, URLs.
        option: the option that they are the values of, for messages.
        limits: what is accepted.
        exclude_suffixes: recordings whose name, or whose archive's, ends so are left out.
        look: looks inside files; :func:`look_here` when left out.

    Raises:
        MissingInputError: a pattern names nothing.
        FormatError: a listing that is named itself has no column `uri`.
        OptionError: nobody here knows the protocol of a URL.
    """
    limits = limits or SourceLimits()
    resolved = [resolve(os.fspath(pattern), option=option) for pattern in patterns]
    for pattern in resolved:
        _check_listing(pattern, limits)
    return _each_once(resolved, limits, tuple(suffix.lower() for suffix in exclude_suffixes), look or look_here)


def _check_listing(pattern: Pattern, limits: SourceLimits) -> None:
    entry = pattern.entry
    if entry is None or entry.kind is not Kind.FILE:
        return
    try:
        if kind_of(entry) == "listing":
            listing.check_heading(entry, limits)
    except ClipError:
        return  # listing it will say so


def _each_once(
    patterns: Sequence[Pattern], limits: SourceLimits, exclude_suffixes: tuple[str, ...], look: Look
) -> Iterator[Source | Skipped]:
    seen = SeenNames()
    # A walk comes by each file once, and each kind of archive sees to its members.
    once = len(patterns) == 1 and patterns[0].entry is not None and patterns[0].entry.kind is Kind.FOLDER
    for found in look((found for pattern in patterns for found in _found(pattern, limits)), limits):
        if isinstance(found, Skipped):
            yield found
        elif has_ending(found.uri, exclude_suffixes) or has_ending(found.member or "", exclude_suffixes):
            reason = "Its ending is excluded."
            yield Skipped(uri=found.uri, member=found.member, code=SkipCode.EXCLUDED, reason=reason)
        elif once or seen.add((found.uri, found.member, found.start_s, found.end_s)):
            yield found
        else:
            reason = "It was named before."
            yield Skipped(uri=found.uri, member=found.member, code=SkipCode.REPEATED, reason=reason)


@dataclass(frozen=True, slots=True)
class Unopened:
    """A file that has to be opened to say what it stands for.

    Attributes:
        entry: the file.
        named: the place that named it, a path or a glob; None for a file that lies in a named folder.
    """

    entry: Entry
    named: str | None


Look = Callable[[Iterable[Source | Skipped | Unopened], SourceLimits], Iterator[Source | Skipped]]
"""Puts in the place of each file that is not opened what it stands for."""


def look_here(found: Iterable[Source | Skipped | Unopened], limits: SourceLimits) -> Iterator[Source | Skipped]:
    """Open one file after the other."""
    for each in found:
        if isinstance(each, Unopened):
            yield from look_inside(each, limits)
        else:
            yield each


def look_inside(file: Unopened, limits: SourceLimits) -> Iterator[Source | Skipped]:
    """What a file stands for."""
    return _in_folder(file.entry, limits) if file.named is None else _named(file.entry, limits, file.named)


def _found(pattern: Pattern, limits: SourceLimits) -> Iterator[Source | Skipped | Unopened]:
    if pattern.entry is None:
        there: Iterable[Entry | Skipped] = matches(pattern.place)
    else:
        there = walk(pattern.entry) if pattern.entry.kind is Kind.FOLDER else [pattern.entry]
    named = None if pattern.entry is not None and pattern.entry.kind is Kind.FOLDER else pattern.place
    for found in there:
        if isinstance(found, Skipped):
            yield found
        elif named is not None or found.kind is not Kind.FOLDER:
            file = Unopened(found, named)
            yield from [file] if _has_to_be_opened(file) else look_inside(file, limits)


def _has_to_be_opened(file: Unopened) -> bool:
    entry, kind = file.entry, ending(file.entry.name)
    if entry.kind is not Kind.FILE or kind in AUDIO_ENDINGS:
        return False
    return file.named is not None or not (left_out(entry.name) or foreign_archive(entry.name) or kind in OTHER_ENDINGS)


def _named(entry: Entry, limits: SourceLimits, place: str) -> Iterator[Source | Skipped]:
    """What a file that was named itself stands for."""
    if entry.kind is not Kind.FILE:
        yield _not_a_file(entry)
        return
    try:
        kind = kind_of(entry)
    except ClipError as error:
        yield Skipped(uri=entry.uri, code=error.code, reason=error.message)
        return
    if kind is None and (words := foreign_archive(entry.name)):
        yield _foreign(entry, words)
    elif kind != "listing":
        yield from container(kind or "file").list_members(entry, limits)
    elif not has_ending(place, (ending(entry.name) or "/",)):
        yield Skipped(uri=entry.uri, code=SkipCode.NOT_AUDIO, reason="A listing is followed where it is named itself.")
    else:
        try:
            yield from listing.list_members(entry, limits)
        except FormatError as error:
            if place == entry.uri:
                raise
            yield Skipped(uri=entry.uri, code=SkipCode.NOT_AUDIO, reason=error.what)


def _in_folder(entry: Entry, limits: SourceLimits) -> Iterator[Source | Skipped]:
    """What a file that lies in a named folder stands for."""
    if why := left_out(entry.name):
        yield Skipped(uri=entry.uri, code=why[0], reason=why[1])
    elif entry.kind is not Kind.FILE:
        yield _not_a_file(entry)
    elif words := foreign_archive(entry.name):
        yield _foreign(entry, words)
    elif ending(entry.name) in OTHER_ENDINGS:
        yield Skipped(uri=entry.uri, code=SkipCode.NOT_AUDIO, reason="It is not named like audio.")
    else:
        try:
            kind = kind_of(entry)
        except ClipError as error:
            yield Skipped(uri=entry.uri, code=error.code, reason=error.message)
            return
        if kind is None:
            reason = "Neither its name nor its content is that of audio."
            yield Skipped(uri=entry.uri, code=SkipCode.NOT_AUDIO, reason=reason)
        elif kind == "listing":
            reason = "A listing in a folder is not followed; name it itself."
            yield Skipped(uri=entry.uri, code=SkipCode.NOT_AUDIO, reason=reason)
        else:
            yield from container(kind).list_members(entry, limits)


def _not_a_file(entry: Entry) -> Skipped:
    return Skipped(uri=entry.uri, code=SkipCode.NOT_A_FILE, reason=f"This is {entry.what}.")


def _foreign(entry: Entry, words: str) -> Skipped:
    reason = f"This is {words}, which cannot be read here; unpack it, or repack it as tar or zip."
    return Skipped(uri=entry.uri, code=Code.UNSUPPORTED, reason=reason)
