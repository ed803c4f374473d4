"""One rule for an output that exists: the same options continue or are done, other content is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sonogloss import files
from sonogloss.errors import OutputError


def earlier_run(
    output: str, manifest: str, options: Mapping[str, Any], *, key: str, unfinished: str, overwrite: bool
) -> dict[str, Any] | None:
    """What a finished run of the same options left.

    Args:
        output: the directory of `--output`.
        manifest: name of the json file that a finished run writes last.
        options: those of this run, as json has them.
        key: where the manifest keeps the options.
        unfinished: name of a file or folder that an unfinished run leaves.
        overwrite: whatever is there will be replaced.

    Returns:
        The content of the manifest; None when the job has to run.

    Raises:
        OutputError: the output holds a run of other options, or something else.
    """
    if overwrite:
        return None
    path = files.join(output, manifest)
    if files.exists(path):
        content = files.read_json(path)
        if not isinstance(content, dict):
            raise refused(output, "other files")
        if content.get(key) == options:
            return content
        raise refused(output, "a result of other options", content.get(key, {}), options)
    if files.list_dir(output) and not files.exists(files.join(output, unfinished)):
        raise refused(output, "other files")
    return None


def refused(
    output: str, what: str, before: Mapping[str, Any] | None = None, now: Mapping[str, Any] | None = None
) -> OutputError:
    """The error of an output that is taken; it names the options that were others before."""
    old, new = _flat(before or {}), _flat(now or {})
    others = [f"{name} was {_short(old[name])}" for name in old.keys() & new.keys() if old[name] != new[name]]
    named = f" ({', '.join(sorted(others))})" if others else ""
    return OutputError(
        f"--output {output!r} holds {what}{named}.", "Name another directory, or replace the content with --overwrite."
    )


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in options.items():
        found |= _flat(value) if isinstance(value, Mapping) else {name: value}
    return found


def _short(value: Any) -> str:
    words = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return words if len(words) <= 40 else f"{words[:37]}..."
