"""Which engine runs a job, and with which of Beam's own options.

Whatever option a command does not know belongs to Beam. Beam itself ignores what it does not know either; here that is
an error, for a job with a misspelt option must not run for an hour.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import io
import multiprocessing
import os
import re
from collections.abc import Iterable, Sequence

from apache_beam.options.pipeline_options import (
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
)
from apache_beam.runners.runner import create_runner

from sonogloss import errors
from sonogloss.errors import InputError, OptionError, TransientError, unknown

LOCAL_RUNNER = "FnApiRunner"
RUNNERS = (
    "FnApiRunner",
    "DirectRunner",
    "DataflowRunner",
    "FlinkRunner",
    "SparkRunner",
    "PortableRunner",
    "PrismRunner",
)
PROCESSES_A_CORE = 4  # more than one help where reading is slow, over a network
_LOCAL_RUNNERS = {"fnapirunner", "directrunner", "bundlebaseddirectrunner", "switchingdirectrunner"}
_WORKER_ERROR = re.compile(r"sonogloss\.errors\.(\w*Error): (.+)")
_NOTE = re.compile(r" ?\[while running '[^']*'\]")


def beam_options(flags: Sequence[str], own: Iterable[str] = (), *, workers: int | None = None) -> PipelineOptions:
    """Check the flags that go to Beam and parse them.

    Args:
        flags: what the command line did not know.
        own: names of the command's own options, for a hint when one is misspelt.
        workers: worker processes on this machine; None runs the job where the flags say, by default in this process.

    Raises:
        OptionError: Beam does not know one of them either, the engine is one that loses data, or there cannot be that
            many workers.
    """
    _check_stray(flags)
    if flags:
        _check_known(flags, own)
    options = PipelineOptions(list(flags))
    standard = options.view_as(StandardOptions)
    standard.runner = standard.runner or LOCAL_RUNNER
    if "dask" in standard.runner.lower():
        raise OptionError(
            f"--runner {standard.runner!r} loses data: of several outputs it computes only one, and says it is done.",
            "Use the default, another runner of Beam's, or Dataflow.",
        )
    _check_runner(options)
    if workers is not None:
        _use_workers(options, workers, flags)
    return options


def _check_known(flags: Sequence[str], own: Iterable[str]) -> None:
    """Does Beam know these flags, and can it read their values?"""
    known = set(PipelineOptions([]).get_all_options())
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            found = PipelineOptions(list(flags)).get_all_options(retain_unknown_options=True)
    except SystemExit as error:  # Beam's parser ends the process over a value that it cannot read
        reason = printed.getvalue().strip().rpartition("error: ")[2]
        raise OptionError(f"Beam refuses one of its options: {reason}.", "Correct its value.") from error
    for name in sorted(set(found) - known):
        raise _unknown(f"--{name}", [*own, *(f"--{option}" for option in known)])


def _use_workers(options: PipelineOptions, workers: int, flags: Sequence[str]) -> None:
    """Run the job in processes on this machine."""
    runner = str(options.view_as(StandardOptions).runner)
    if runner != LOCAL_RUNNER:
        raise OptionError(
            f"--workers are processes on this machine, and --runner {runner} has workers of its own.",
            "Leave one of them out.",
        )
    for name in ("direct_num_workers", "direct_running_mode"):
        if any(flag.partition("=")[0] == f"--{name}" for flag in flags):
            raise OptionError(f"--workers and --{name} exclude each other.", "Give one of them.")
    if workers > (most := PROCESSES_A_CORE * count_cores()):
        raise OptionError(
            f"--workers {workers} is more than this machine can use with {most // PROCESSES_A_CORE} cores.",
            f"Give {most} or less; each worker holds its own models in memory.",
        )
    direct = options.view_as(DirectOptions)
    direct.direct_num_workers, direct.direct_running_mode = workers, "multi_processing"


def _check_runner(options: PipelineOptions) -> None:
    """Is there such a runner, and has it what it needs?"""
    name = str(options.view_as(StandardOptions).runner)
    try:
        create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise unknown("--runner", name, RUNNERS) from error
    if not name.rpartition(".")[2].lower().startswith("dataflow"):
        return
    cloud = options.view_as(GoogleCloudOptions)
    missing = [f"--{option}" for option in ("project", "region", "temp_location") if not getattr(cloud, option)]
    if missing:
        raise OptionError(
            f"--runner {name} needs {', '.join(missing)}.", "Give them; deploy/README.md shows a command."
        )
    if importlib.util.find_spec("apitools") is None:
        raise OptionError(f"--runner {name} needs Beam's Google packages.", "Run pip install 'sonogloss[cpu,gcp]'.")


def _check_stray(flags: Sequence[str]) -> None:
    """A word that belongs to no option, and an option with one dash, are mistakes."""
    before = ""
    for flag in flags:
        if flag.startswith("--"):
            before = flag
            continue
        if flag.startswith("-") and len(flag) > 1 and not flag[1].isdigit():
            raise OptionError(f"Unknown option {flag!r}.", "Options begin with two dashes; see --help.")
        if not before or "=" in before:
            raise OptionError(f"Unexpected argument {flag!r}.", "Name the option it belongs to; see --help.")
        before = ""


def _unknown(flag: str, names: Iterable[str]) -> OptionError:
    near = difflib.get_close_matches(flag, sorted(set(names)), n=2, cutoff=0.7)
    hint = f"Did you mean {' or '.join(near)}?" if near else "See --help for this command's; Beam has its own."
    return OptionError(f"Unknown option {flag!r}: neither this command nor Beam has it.", hint)


def is_local(options: PipelineOptions) -> bool:
    """Does the job run on this machine, so that workers can write to a progress file?"""
    return str(options.view_as(StandardOptions).runner).rpartition(".")[2].lower() in _LOCAL_RUNNERS


def count_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else multiprocessing.cpu_count()


def share_cores(options: PipelineOptions) -> int | None:
    """Threads a worker process, so that all of them together have the cores; None for a job in this process."""
    direct = options.view_as(DirectOptions)
    if not is_local(options) or direct.direct_running_mode != "multi_processing":
        return None
    return max(1, count_cores() // (direct.direct_num_workers or count_cores()))


def leaves_models_to_workers(options: PipelineOptions) -> bool:
    """Do other processes load the models, here or on other machines, so that this one only looks at them?"""
    return not is_local(options) or share_cores(options) is not None


def from_worker(error: Exception) -> InputError | TransientError | None:
    """What a worker met, if that ended the job: a mistake (a full disk, another model), or a store that is away.

    Beam hands a worker's exception over with a note in its first sentence, from another process as text only.
    """
    if isinstance(error, InputError | TransientError):
        return type(error)(_NOTE.sub("", error.what), error.remedy)
    match = _WORKER_ERROR.search(str(error))
    if match is None:
        return None
    note = _NOTE.search(match[2])  # it stands behind the first sentence
    what, remedy = (match[2][: note.start()], match[2][note.end() :].strip()) if note else (match[2], "")
    return TransientError(what, remedy) if match[1] == TransientError.__name__ else input_error(match[1], what, remedy)


def input_error(name: str, what: str, remedy: str) -> InputError:
    """The error of a worker, by the name of its class."""
    kind = getattr(errors, name, None)
    return (kind if isinstance(kind, type) and issubclass(kind, InputError) else InputError)(what, remedy)
