"""Rows of a tar in the layout of WebDataset: a sample's `txt` and `json` sidecars are its row, sound is passed over.

A text is the column `txt`; it is also `text` where the sample's JSON has no such field.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from sonogloss.dumps.lines import LONGEST_LINE
from sonogloss.dumps.rows import Numbered, Row
from sonogloss.dumps.streams import LIMITS
from sonogloss.sources.names import printable
from sonogloss.sources.tar import tar_reader
from sonogloss.sources.tar_headers import TarMember

_SIDECARS = (".txt", ".json")


def tar_rows(uri: str) -> Iterator[Numbered]:
    """A row a sample that has a sidecar, numbered from 1. Members of a sample stand together, as WebDataset has them.

    Raises:
        ClipError: the tar is cut off or damaged; what stands before is read.
    """
    number = 0
    with tar_reader(uri, LIMITS) as reader:
        for _, members in groupby(reader.members(), key=_sample):
            sidecars = [(member.name, _fields(member)) for member in members if _is_sidecar(member.name)]
            for sample, fields in _rows(sidecars):
                number += 1
                yield number, _row(sample, fields)


def _rows(sidecars: list[tuple[str, Row | str]]) -> Iterator[tuple[str, list[Row | str]]]:
    """The sidecars of each row, and its name: that up to the first dot, unless two of one kind would be the same row.

    Not all who write tars keep to that rule of WebDataset: `clip.1.json` and `clip.2.json` may be two samples.
    """
    kinds = [posixpath.splitext(name)[1].lower() for name, _ in sidecars]
    if len(kinds) == len(set(kinds)):
        rows = {_stem(name): [fields for _, fields in sidecars] for name, _ in sidecars[:1]}
    else:
        rows = {}
        for name, fields in sidecars:
            rows.setdefault(posixpath.splitext(name)[0], []).append(fields)
    yield from rows.items()


def _row(sample: str, sidecars: list[Row | str]) -> Row | str:
    if problem := next((each for each in sidecars if isinstance(each, str)), None):
        return f"The sample {printable(sample)!r} has {problem}."
    row: dict[str, Any] = {}
    for fields in sidecars:
        row.update(fields)  # type: ignore[arg-type]  # problems have left above
    return {"text": row["txt"], **row} if "txt" in row else row


def _sample(member: TarMember) -> str:
    return _stem(member.name)


def _stem(path: str) -> str:
    folder, name = posixpath.split(path)
    return posixpath.join(folder, name.partition(".")[0])


def _is_sidecar(name: str) -> bool:
    base = posixpath.basename(name)
    return base.lower().endswith(_SIDECARS) and not base.startswith(".")


def _fields(member: TarMember) -> Row | str:
    """What a sidecar says, or what is wrong with it."""
    if member.refused is not None:
        return "a sidecar that is no file"
    if member.size > LONGEST_LINE:
        return f"a sidecar of more than {LONGEST_LINE:,} bytes"
    try:
        text = member.content().decode("utf-8-sig")
        if member.name.lower().endswith(".txt"):
            return {"txt": text}
        fields = json.loads(text)
    except UnicodeDecodeError:
        return "a sidecar that is not UTF-8"
    except (ValueError, RecursionError):
        return "a JSON sidecar that is no JSON"
    return fields if isinstance(fields, dict) else "a JSON sidecar that is no object"
