"""Parts of a corpus, one after the other in this process or on the workers of Beam."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from sonogloss import files
from sonogloss.pipelines.config.beam import BeamOptions
from sonogloss.pipelines.running.signals import cleaning
from sonogloss.transforms.score_captions import ScoringPlan, merge_counts, write_counts, write_scores

Runner = Callable[[ScoringPlan], None]
"""Counts and scores what a plan names."""


@contextmanager
def parts_runner(config: BeamOptions, output: str) -> Iterator[tuple[str, Runner]]:
    """A folder for the work, and what runs it: Beam where workers or options of Beam are given.

    Args:
        config: of the command.
        output: its output; workers on other machines find the folder there.
    """
    if config.workers is None and not config.beam_args:
        with _local_folder() as folder:
            yield folder, _run_here
        return
    from sonogloss.pipelines.running.beam_options import beam_options, is_local  # seconds that few evaluations need

    options = beam_options(config.beam_args, workers=config.workers)
    with _local_folder() if is_local(options) else _shared_folder(output) as folder:
        yield folder, partial(_run_on_beam, options)


@contextmanager
def _local_folder() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="sonogloss-scores-")
    with cleaning(partial(shutil.rmtree, folder, ignore_errors=True)):
        yield folder


@contextmanager
def _shared_folder(output: str) -> Iterator[str]:
    folder = files.join(output, f"metrics/work-{uuid.uuid4().hex[:8]}")

    def clean() -> None:
        for name in files.list_below(folder):
            files.remove(files.join(folder, name))
        files.remove_empty_folders(output, [f"metrics/{files.base_name(folder)}"])

    with cleaning(clean):
        yield folder


def _run_here(plan: ScoringPlan) -> None:
    for part in plan.parts:
        write_counts(part, plan)
    merge_counts(plan)
    for part in plan.parts:
        write_scores(part, plan)


def _run_on_beam(options: Any, plan: ScoringPlan) -> None:
    """Both passes in one pipeline, whose workers start once."""
    import apache_beam as beam

    from sonogloss.pipelines.running.progress import Work
    from sonogloss.pipelines.running.run_beam import make_pipeline, progress_file, run_pipeline
    from sonogloss.transforms.batch_step import Gather, Step

    with progress_file(options) as path:
        pipeline = make_pipeline(options)
        parts = pipeline | "ListParts" >> beam.Create(list(plan.parts)) | "SpreadParts" >> beam.Reshuffle()
        passes = 1
        if plan.counts:
            passes = 2
            counted = parts | "Count" >> Step(write_counts, plan=plan, progress=path)
            merged = counted | "Merge" >> Gather(merge_parts, plan=plan)
            parts = merged | "ListPartsAgain" >> beam.FlatMap(iter) | "SpreadPartsAgain" >> beam.Reshuffle()
        _ = parts | "Score" >> Step(write_scores, plan=plan, progress=path)
        run_pipeline(pipeline, noun="captions", path=path, work=Work(units=passes * len(plan.sizes), noun="parts"))


def merge_parts(parts: list[int], plan: ScoringPlan) -> list[int]:
    """The parts, once their counts are added up."""
    merge_counts(plan)
    return sorted(parts)
