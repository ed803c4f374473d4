"""Parts of a corpus or of results, one after the other in this process or on the workers of Beam."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from sonogloss import files
from sonogloss.pipelines.config.beam import BeamOptions
from sonogloss.pipelines.running.signals import cleaning

Work = Callable[..., int]
"""From a part to what it leaves in the folder."""


Gather = Callable[[Any], None]
"""Takes the plan when a work is done on all parts."""


class Plan(Protocol):
    """What the work needs to know, small, and the number of each part."""

    @property
    def parts(self) -> Sequence[int]:
        """Of the corpus."""
        ...


class Runner(Protocol):
    """Does the work on every part."""

    def __call__(self, work: Work, plan: Any, *, first: tuple[Work, Gather] | None = None) -> None:
        """Do it.

        Args:
            work: takes a part, the plan, and where progress is noted.
            plan: a :class:`Plan`.
            first: another work on every part, and what gathers what it left before `work` begins.
        """


@contextmanager
def parts_runner(
    config: BeamOptions, output: str, *, name: str = "metrics/work", noun: str = "captions"
) -> Iterator[tuple[str, Runner]]:
    """A folder for the work, and what runs it: Beam where workers or options of Beam are given.

    Args:
        config: of the command.
        output: its output; workers on other machines find the folder there.
        name: of that folder below the output, with a number behind.
        noun: what is counted.
    """
    if config.workers is None and not config.beam_args:
        with _local_folder() as folder:
            yield folder, _run_here
        return
    from sonogloss.pipelines.running.beam_options import beam_options, is_local  # seconds that few evaluations need

    options = beam_options(config.beam_args, workers=config.workers)
    with _local_folder() if is_local(options) else _shared_folder(output, name) as folder:
        yield folder, partial(_run_on_beam, options, noun)


@contextmanager
def _local_folder() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="sonogloss-scores-")
    with cleaning(partial(shutil.rmtree, folder, ignore_errors=True)):
        yield folder


@contextmanager
def _shared_folder(output: str, name: str) -> Iterator[str]:
    folder = files.join(output, f"{name}-{uuid.uuid4().hex[:8]}")

    def clean() -> None:
        for left in files.list_below(folder):
            files.remove(files.join(folder, left))
        files.remove_empty_folders(output, [name.partition("/")[0]])

    with cleaning(clean):
        yield folder


def _run_here(work: Work, plan: Plan, *, first: tuple[Work, Gather] | None = None) -> None:
    if first is not None:
        _run_here(first[0], plan)
        first[1](plan)
    for part in plan.parts:
        work(part, plan)


def _run_on_beam(options: Any, noun: str, work: Work, plan: Plan, *, first: tuple[Work, Gather] | None = None) -> None:
    """All of it in one pipeline, whose workers start once."""
    import apache_beam as beam

    from sonogloss.pipelines.running.progress import Work as Amount
    from sonogloss.pipelines.running.run_beam import make_pipeline, progress_file, run_pipeline
    from sonogloss.transforms.batch_step import Gather as GatherStep
    from sonogloss.transforms.batch_step import Step

    with progress_file(options) as path:
        pipeline = make_pipeline(options)
        parts = pipeline | "ListParts" >> beam.Create(list(plan.parts)) | "SpreadParts" >> beam.Reshuffle()
        if first is not None:
            done = parts | "WorkOnPartsFirst" >> Step(first[0], plan=plan, progress=path)
            gathered = done | "GatherParts" >> GatherStep(_gather, gather=first[1], plan=plan)
            parts = gathered | "ListPartsAgain" >> beam.FlatMap(sorted) | "SpreadPartsAgain" >> beam.Reshuffle()
        _ = parts | "WorkOnParts" >> Step(work, plan=plan, progress=path)
        amount = Amount(units=len(plan.parts) * (1 if first is None else 2), noun="parts")
        run_pipeline(pipeline, noun=noun, path=path, work=amount)


def _gather(parts: list[int], gather: Gather, plan: Plan) -> list[int]:
    gather(plan)
    return parts
