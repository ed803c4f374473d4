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
        if isinstance(content, dict) and content.get(key) == options:
            return content
        raise refused(output, "a result of other options")
    if files.list_dir(output) and not files.exists(files.join(output, unfinished)):
        raise refused(output, "other files")
    return None


def refused(output: str, what: str) -> OutputError:
    """The error of an output that is taken."""
    return OutputError(
        f"--output {output!r} holds {what}.", "Name another directory, or replace the content with --overwrite."
    )
