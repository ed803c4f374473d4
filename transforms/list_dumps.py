"""list_dumps: the caption dumps of a job, out of a file below its output; the graph holds that file's name alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from sonogloss import files
from sonogloss.dumps.texts import WordLimits
from sonogloss.transforms.read_captions import SourceFile
from sonogloss.transforms.work_files import new_folder


def write_dumps(output: str, dumps: Iterable[SourceFile], head: Mapping[str, Any]) -> str:
    """Write what there is to read.

    Args:
        output: the datastore's directory.
        dumps: files, or parts of files.
        head: what else grows with the dumps and belongs into the manifest, as JSON has it.

    Returns:
        The folder, for :func:`read_dumps` and :func:`read_head`.
    """
    folder = new_folder(output)
    with files.atomic_write(files.join(folder, "dumps.jsonl")) as handle:
        for dump in dumps:
            handle.write(f"{json.dumps(asdict(dump))}\n".encode())
    files.write_bytes(files.join(folder, "head.json"), json.dumps(head).encode())
    return folder


def read_dumps(folder: str) -> Iterator[SourceFile]:
    """The files, or parts of files, in their order."""
    with files.open_read(files.join(folder, "dumps.jsonl")) as handle:
        for line in handle:
            found = json.loads(line)
            part = found["part"]
            yield SourceFile(
                **{
                    **found,
                    "text_columns": tuple(found["text_columns"]),
                    "part": None if part is None else tuple(part),
                    "words": WordLimits(**found["words"]),
                }
            )


def read_head(folder: str) -> dict[str, Any]:
    """What the manifest says of the dumps."""
    found: dict[str, Any] = files.read_json(files.join(folder, "head.json"))
    return found
