"""Looking into archives and other files that have to be opened, on the workers of a job where that is much work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from apache_beam.options.pipeline_options import GoogleCloudOptions

from sonogloss.pipelines.config.captioning import CaptionConfig, ClassifyConfig
from sonogloss.pipelines.running.beam_options import beam_options
from sonogloss.pipelines.running.lease import lease
from sonogloss.pipelines.running.ownership import refuse_other_directory
from sonogloss.pipelines.running.run_parts import Stage, parts_runner
from sonogloss.pipelines.running.terminal import note
from sonogloss.sources import Skipped, Source, SourceLimits, SourceTable
from sonogloss.sources.find import Look, Unopened, look_here
from sonogloss.transforms.list_files import as_row, from_row, list_range, plan_listing, read_found
from sonogloss.transforms.work_files import WORK_FOLDER

MUCH = 16 << 30
"""Bytes of files to look into from which on it is worth to start workers for that."""


def look_with_workers(config: CaptionConfig | ClassifyConfig) -> Look:
    """What looks inside files for a job: its workers, if it has some and there is much to look into."""
    if config.workers is None and not config.beam_args:
        return look_here
    options = beam_options(config.beam_args, workers=config.workers)
    if options.view_as(GoogleCloudOptions).template_location is not None:
        return look_here  # a launcher of templates takes a single job
    output = str(config.output)

    def look(found: Iterable[Source | Skipped | Unopened], limits: SourceLimits) -> Iterator[Source | Skipped]:
        table = SourceTable.of(map(as_row, found))
        rows = (isinstance(from_row(row), Unopened) for row in table)
        unopened = table.take(np.flatnonzero(np.fromiter(rows, bool, len(table))))
        size = sum(int(np.maximum(sizes, 0).sum()) for sizes in unopened.sizes())
        if size < MUCH:
            yield from look_here(map(from_row, table), limits)
            return
        note(f"workers look into {len(unopened):,} files of {size / (1 << 30):,.0f} GiB first")
        refuse_other_directory(output)
        with (
            lease(output, "caption or classify", by_force=config.break_lease),
            parts_runner(config, output, name=f"{WORK_FOLDER}/listing", noun="recordings") as (folder, run_parts),
        ):
            plan = plan_listing(folder, unopened, limits)
            run_parts(plan, Stage(work=list_range))
            inside = read_found(plan)
            for row in table:
                each = from_row(row)
                yield from next(inside) if isinstance(each, Unopened) else [each]

    return look
