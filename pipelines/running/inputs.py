"""Checks that several jobs make before they start."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sonogloss import files
from sonogloss.audio import WindowPolicy
from sonogloss.clap import is_pocket
from sonogloss.clap.device import choose_device
from sonogloss.errors import MissingInputError, OptionError, OutputError
from sonogloss.pipelines.config.fields import Paths
from sonogloss.pipelines.running.beam_options import beam_options, is_local
from sonogloss.pipelines.running.terminal import note
from sonogloss.sources import Source, SourceTable, list_sources
from sonogloss.sources.find import Look, look_here
from sonogloss.transforms.models import ClapReference
from sonogloss.transforms.skipped_files import SkippedList

DEMO_FILE = "demo.json"
"""Marks what `sonogloss demo` made."""


def as_list(value: Paths) -> list[str]:
    """One path or several as a list of strings."""
    return [os.fspath(each) for each in ([value] if isinstance(value, str | os.PathLike) else value)]


def list_audio(patterns: Iterable[str], look: Look = look_here) -> tuple[SourceTable, SkippedList]:
    """The recordings that patterns name, sorted by file, each once, and what was left out.

    What cannot be opened, for the listing found that out, is among the recordings: it becomes a dead letter.

    Args:
        patterns: paths, globs, URLs.
        look: looks inside files.

    Raises:
        MissingInputError: there is no recording.
    """
    skipped = SkippedList()
    sources = SourceTable.of(_sources(patterns, skipped, look))
    if not sources:
        if not skipped.rows:
            raise MissingInputError(
                "--audio names nothing but empty archives, tables or listings.", "Name files that hold recordings."
            )
        raise MissingInputError(
            f"--audio holds no recording among {skipped.counts.total():,} files; {skipped.rows[0].uri!r}, for one: "
            f"{skipped.rows[0].reason}",
            "Name the files with a glob if they are audio all the same.",
        )
    return sources.in_order(), skipped


def _sources(patterns: Iterable[str], skipped: SkippedList, look: Look) -> Iterator[Source]:
    """The recordings; what was left out joins the list."""
    for found in list_sources(map(_failures_of_a_run, patterns), look=look):
        if isinstance(found, Source):
            yield found
        elif found.failed:
            yield Source(uri=found.uri, member=found.member, version=str(found.code), refused=found)
        else:
            skipped.add(found)


def _failures_of_a_run(pattern: str) -> str:
    """The tables in the `dead_letters` of results list what failed; in other folders tables are not read."""
    if files.base_name(pattern.rstrip("/")) == "dead_letters" and files.is_dir(pattern):
        return files.join(pattern, "part-*.parquet")
    return pattern


def check_output(directory: str) -> None:
    """Refuse a local output that can never be written, before anything is loaded; nothing is created.

    Raises:
        OutputError: a file is in the way, or the folder that it would be made in is not writable.
    """
    if "://" in directory:
        return
    there, remedy = Path(directory).absolute(), "Name another directory."
    try:
        while not _is_there(there):
            there = there.parent
        is_folder = stat.S_ISDIR(there.stat().st_mode)
    except FileNotFoundError:
        raise OutputError(f"--output {directory!r} cannot be made: {str(there)!r} leads nowhere.", remedy) from None
    except (OSError, ValueError) as error:  # a name that is too long, a loop of links, a null character
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"--output {directory!r} cannot be made: {reason}.", remedy) from error
    if not is_folder or not os.access(there, os.W_OK | os.X_OK):
        what = "is not writable" if is_folder else "is not a directory"
        raise OutputError(f"--output {directory!r} cannot be made: {str(there)!r} {what}.", remedy)


def _is_there(path: Path) -> bool:
    """Is there anything of this name, be it a link that leads nowhere?"""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def check_window(policy: WindowPolicy, clap: ClapReference, option: str = "--clap") -> None:
    """A window is at most what a CLAP takes at once.

    Raises:
        OptionError: it is longer.
    """
    longest = clap.outline.window_s
    if policy.window_s > longest:
        raise OptionError(
            f"--window {policy.window_s:g} is longer than the {longest:g} s that {option} {clap.name!r} takes at once.",
            f"Give {longest:g} or less; longer recordings are cut into several clips.",
        )


def note_pocket(clap: str, paths: Iterable[str]) -> None:
    """Say on standard error that the embedded CLAP is for demonstrations, unless `demo` made these files."""
    if not is_pocket(clap):
        return
    paths = iter(paths)
    folder = os.path.dirname(next(paths, ""))
    made_by_demo = all(os.path.dirname(path) == folder for path in paths) and any(
        files.exists(files.join(path, DEMO_FILE)) for path in (folder, os.path.dirname(folder))
    )
    if not made_by_demo:
        note(f"{clap} knows fifty sounds only, for demos; real work needs a published CLAP")


def too_many(failed: int, total: int, *, share: float, what: str, where: str) -> list[str]:
    """A sentence when more than a share of all inputs failed, else nothing."""
    if failed <= share * total:
        return []
    sentence = (
        f"{failed:,} of {total:,} {what} failed, more than the share of {share:g} that --max-dead-letters allows; "
        f"{files.join(where, 'dead_letters')} says which and why."
    )
    return [sentence]


def device_for(name: str, beam_args: Sequence[str]) -> str:
    """The device as it travels to the workers: of a local job what it is here, else as the user named it.

    Raises:
        OptionError: a local job asks for a CUDA device and there is none.
    """
    return name if runs_elsewhere(beam_args) else choose_device(name)


def runs_elsewhere(beam_args: Sequence[str]) -> bool:
    """Is this the job of workers on other machines? Then the launching one looks at models and loads none."""
    return not is_local(beam_options(beam_args))


def count_gpus() -> int:
    """How many CUDA devices torch sees."""
    import torch

    return torch.cuda.device_count()


def store_paths(datastore: Paths) -> list[str]:
    """One datastore or several, as a list."""
    return [os.fspath(datastore)] if isinstance(datastore, str | os.PathLike) else [os.fspath(p) for p in datastore]
