"""The caption dumps of a job: files with their sources and licenses, the columns that hold text, parts to read."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sonogloss import files
from sonogloss.dumps.layouts import CANDIDATES, LAYOUTS, TEXT, detect
from sonogloss.dumps.listing import find_dumps
from sonogloss.dumps.texts import WordLimits
from sonogloss.errors import FormatError, InputError, MissingInputError, OptionError
from sonogloss.sources.names import printable
from sonogloss.sources.patterns import resolve
from sonogloss.sources.source import Skipped
from sonogloss.transforms.caption_formats import caption_format, columns_of, first_line, is_caption_file, parts_of
from sonogloss.transforms.read_captions import SourceFile


@dataclass(frozen=True, kw_only=True)
class CaptionDumps:
    """What a job reads.

    Attributes:
        files: in the order of their names.
        sizes: what is recorded of each file, `uri` and `bytes`.
        skipped: how many files were left out, by reason.
        licenses: by source.
    """

    files: Sequence[SourceFile]
    sizes: Sequence[Mapping[str, Any]]
    skipped: Mapping[str, int] = field(default_factory=dict)
    licenses: Mapping[str, str] = field(default_factory=dict)

    def in_parts(self) -> list[SourceFile]:
        """The files; those that several workers may read are cut into parts."""
        return [replace(file, part=part) for file in self.files for part in parts_of(file.uri)]


def list_dumps(
    captions: Sequence[str],
    *,
    option: str = "--captions",
    source: str | None = None,
    text_columns: Sequence[str] = (),
    layout: str = "auto",
    licenses: Sequence[str] = (),
    words: WordLimits | None = None,
) -> CaptionDumps:
    """The dumps that patterns name, each once, looked into.

    Args:
        captions: paths, folders, globs or URLs, each alone or as `NAME=PATTERN`.
        option: the option that they are the values of.
        source: what captions without a name are credited to; by default to the name of their file.
        text_columns: names, each alone or as `FILE_OR_SOURCE=NAME`; none for what the layout says.
        layout: `auto`, `none`, or the name of a layout.
        licenses: one text for all sources, or `SOURCE=TEXT` for some.
        words: the lengths of captions that stay.

    Raises:
        InputError: nothing is there, or something cannot be read.
    """
    try:
        found, sizes, skipped = _find(captions, option, source)
        wanted = _by_source(text_columns, found)
        resolved = [
            replace(file, number=number, words=words or WordLimits(), text_columns=_choose(file, wanted, layout))
            for number, file in enumerate(found)
        ]
    except InputError as error:
        if option == "--captions" or type(error) not in (FormatError, MissingInputError):
            raise
        raise type(error)(error.what.replace("--captions", option), error.remedy) from error
    return CaptionDumps(files=resolved, sizes=sizes, skipped=skipped, licenses=_licenses(licenses, found))


def _find(
    captions: Sequence[str], option: str, source: str | None
) -> tuple[list[SourceFile], list[dict[str, Any]], dict[str, int]]:
    found: dict[str, tuple[SourceFile, int | None]] = {}
    skipped: dict[str, Skipped] = {}
    for text in captions:
        name, pattern = _named(text)
        for each in find_dumps(pattern, is_caption_file, option=option):
            if isinstance(each, Skipped):
                skipped[each.uri] = each
                continue
            caption_format(each.uri)
            credited = name or source or printable(each.name)
            before = found.setdefault(each.uri, (SourceFile(uri=each.uri, source=credited), each.bytes))[0]
            if name is not None and before.source != name:
                raise OptionError(
                    f"{option}: {printable(each.uri)!r} is named as {before.source!r} and as {name!r}.",
                    "Name each file once.",
                )
    left_out = [each for uri, each in skipped.items() if uri not in found]
    if not found:
        first = left_out[0]
        raise FormatError(
            f"{option} holds no caption file among {len(left_out):,} files; {printable(first.uri)!r}, for one: "
            f"{first.reason}",
            "Name the files themselves.",
        )
    ordered = [found[uri] for uri in sorted(found)]
    sizes = [{"uri": printable(file.uri), "bytes": size} for file, size in ordered]
    return [file for file, _ in ordered], sizes, dict(sorted(Counter(str(each.code) for each in left_out).items()))


def _named(text: str) -> tuple[str | None, str]:
    """`NAME=PATTERN` in its parts; what exists as it is written is a pattern."""
    name, equals, pattern = text.partition("=")
    if not equals or not name.strip() or not pattern or "/" in name:
        return None, text
    try:
        resolve(text, option="--captions")
    except MissingInputError:
        return name.strip(), pattern
    return None, text


def _by_source(text_columns: Sequence[str], found: Sequence[SourceFile]) -> dict[str, list[str]]:
    """Column names by what they are for: a source, a pattern of file names, or "" for all."""
    wanted: dict[str, list[str]] = {}
    for text in text_columns:
        name, equals, column = text.partition("=")
        if equals and column and any(_is_called(file, name) for file in found):
            wanted.setdefault(name, []).append(column)
        else:
            wanted.setdefault("", []).append(text)
    return wanted


def _is_called(file: SourceFile, name: str) -> bool:
    base = printable(files.base_name(file.uri))
    return name in (file.source, base) or fnmatch.fnmatchcase(base, name)


def _choose(file: SourceFile, wanted: Mapping[str, Sequence[str]], layout: str) -> tuple[str, ...]:
    """The columns of a file that hold captions.

    Raises:
        FormatError: it cannot be opened, or has no such columns; those that it has are named.
    """
    own = [column for name, columns in wanted.items() if name and _is_called(file, name) for column in columns]
    plain = list(wanted.get("", ()))
    asked = list(dict.fromkeys(own or plain))
    asked = [] if asked == [TEXT] else asked  # the default
    available = _look(file, tuple(dict.fromkeys([*asked, *CANDIDATES])))
    if available is None:
        return tuple(asked) or (TEXT,)
    if asked:
        chosen = [column for column in asked if column in available]
        missing = [column for column in asked if column not in available]
        if not chosen or (own and missing):
            raise _no_column(file, missing, available)
        return tuple(chosen)
    if layout not in ("auto", "none"):
        if not (columns := LAYOUTS[layout].columns(available)):
            raise FormatError(
                f"--layout {layout}: {printable(file.uri)!r} has no column with captions.", _they_are(available)
            )
        return columns
    if TEXT in available:
        return (TEXT,)
    if layout == "auto" and (columns := detect(available)):
        return columns
    raise _no_column(file, [TEXT], available)


def _look(file: SourceFile, candidates: tuple[str, ...]) -> tuple[str, ...] | None:
    try:
        return columns_of(file.uri, candidates)
    except InputError:
        raise
    except Exception as error:  # every kind of compression raises its own errors
        raise FormatError(
            f"--captions {printable(file.uri)!r} cannot be read ({first_line(error)}).",
            "Check that its content is what its name says.",
        ) from error


def _no_column(file: SourceFile, missing: Sequence[str], available: Sequence[str]) -> FormatError:
    named = " ".join(repr(column) for column in missing)
    return FormatError(f"--text-column {named}: {printable(file.uri)!r} has no such column.", _they_are(available))


def _they_are(available: Sequence[str]) -> str:
    more = f" and {len(available) - 50:,} more" if len(available) > 50 else ""
    return f"It has these: {', '.join(available[:50])}{more}."


def _licenses(licenses: Sequence[str], found: Iterable[SourceFile]) -> dict[str, str]:
    """License by source.

    Raises:
        OptionError: a source is unknown, or several texts are for all.
    """
    sources = list(dict.fromkeys(file.source for file in found))
    named: dict[str, str] = {}
    for_all: list[str] = []
    for text in licenses:
        name, equals, license_text = text.partition("=")
        if equals and name in sources:
            named[name] = license_text
        elif equals and not {" ", "/", ":"} & set(name):
            raise OptionError(
                f"--license {text!r}: there is no source {name!r}.", f"The sources are {', '.join(sources[:20])}."
            )
        else:
            for_all.append(text)
    if len(for_all) > 1:
        raise OptionError("--license is given several times for all sources.", "Say SOURCE=TEXT for each.")
    return {source: named.get(source, *for_all) for source in sources if source in named or for_all}
