"""Which recordings there are: patterns in, sources and what was left out of them out, one at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from sonogloss.errors import ClipError, Code, FormatError
from sonogloss.sources import listing
from sonogloss.sources.names import OTHER_ENDINGS, SeenNames, ending, foreign_archive, has_ending, left_out
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

    Raises:
        MissingInputError: a pattern names nothing.
        FormatError: a listing that is named itself has no column `uri`.
        OptionError: nobody here knows the protocol of a URL.
    """
    limits = limits or SourceLimits()
    resolved = [resolve(os.fspath(pattern), option=option) for pattern in patterns]
    for pattern in resolved:
        _check_listing(pattern, limits)
    return _each_once(resolved, limits, tuple(suffix.lower() for suffix in exclude_suffixes))


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
    patterns: Sequence[Pattern], limits: SourceLimits, exclude_suffixes: tuple[str, ...]
) -> Iterator[Source | Skipped]:
    seen = SeenNames()
    # A walk comes by each file once, and each kind of archive sees to its members.
    once = len(patterns) == 1 and patterns[0].entry is not None and patterns[0].entry.kind is Kind.FOLDER
    for pattern in patterns:
        for found in _found(pattern, limits):
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


def _found(pattern: Pattern, limits: SourceLimits) -> Iterator[Source | Skipped]:
    if pattern.entry is None:
        for found in matches(pattern.place):
            yield from [found] if isinstance(found, Skipped) else _named(found, limits, pattern)
    elif pattern.entry.kind is Kind.FOLDER:
        for found in walk(pattern.entry):
            if isinstance(found, Skipped):
                yield found
            elif found.kind is not Kind.FOLDER:
                yield from _in_folder(found, limits)
    else:
        yield from _named(pattern.entry, limits, pattern)


def _named(entry: Entry, limits: SourceLimits, pattern: Pattern) -> Iterator[Source | Skipped]:
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
    elif not has_ending(pattern.place, (ending(entry.name) or "/",)):
        yield Skipped(uri=entry.uri, code=SkipCode.NOT_AUDIO, reason="A listing is followed where it is named itself.")
    elif pattern.entry is not None:
        yield from listing.list_members(entry, limits)
    else:
        try:
            yield from listing.list_members(entry, limits)
        except FormatError as error:
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
