"""Parts of a corpus or of results, one after the other in this process or on the workers of Beam."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from sonogloss import files
from sonogloss.pipelines.config.beam import BeamOptions
from sonogloss.pipelines.running.signals import cleaning


class Plan(Protocol):
    """What the work needs to know, small, and the number of each part."""

    @property
    def parts(self) -> Sequence[int]:
        """Of the first stage."""
        ...


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Work on every part, and what follows.

    Attributes:
        work: takes a part, the plan, and where progress is noted; it leaves files in the folder.
        gather: takes the plan when the work is done on all parts, and gives the parts of the next stage.
    """

    work: Callable[..., int]
    gather: Callable[[Any], Sequence[int]] | None = None


class Runner(Protocol):
    """Does the work on every part."""

    def __call__(self, plan: Any, *stages: Stage, units: int | None = None) -> None:
        """Do it.

        Args:
            plan: a :class:`Plan`.
            stages: one after the other; all but the last one gather.
            units: parts of all stages; by default those of the plan.
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
            yield folder, run_here
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


def run_here(plan: Plan, *stages: Stage, units: int | None = None) -> None:
    """Do the work in this process, see :class:`Runner`."""
    parts = plan.parts
    for stage in stages:
        for part in parts:
            stage.work(part, plan)
        if stage.gather is not None:
            parts = stage.gather(plan)


def _run_on_beam(options: Any, noun: str, plan: Plan, *stages: Stage, units: int | None = None) -> None:
    """All of it in one pipeline, whose workers start once."""
    import apache_beam as beam

    from sonogloss.pipelines.running.progress import Work as Amount
    from sonogloss.pipelines.running.run_beam import make_pipeline, progress_file, run_pipeline
    from sonogloss.transforms.batch_step import Gather as GatherStep
    from sonogloss.transforms.batch_step import Step

    with progress_file(options) as path:
        pipeline = make_pipeline(options)
        parts = pipeline | "ListParts" >> beam.Create(list(plan.parts))
        for number, stage in enumerate(stages, 1):
            spread = parts | f"SpreadParts{number}" >> beam.Reshuffle()
            done = spread | f"WorkOnParts{number}" >> Step(stage.work, plan=plan, progress=path)
            if stage.gather is not None:
                gathered = done | f"Gather{number}" >> GatherStep(_gather, gather=stage.gather, plan=plan)
                parts = gathered | f"ListParts{number}" >> beam.FlatMap(list)
        amount = Amount(units=units or len(plan.parts), noun="parts")
        run_pipeline(pipeline, noun=noun, path=path, work=amount)


def _gather(done: list[int], gather: Callable[[Any], Sequence[int]], plan: Plan) -> list[int]:
    return list(gather(plan))
