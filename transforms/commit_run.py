"""commit_run: when every part is written, `run.json` names them, and the directory is finished."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sonogloss import __version__, files
from sonogloss.transforms.work import UnitResult, sum_counts

RUN_FILE = "run.json"
FORMAT = "sonogloss-results"
FORMAT_VERSION = 1


def commit_run(
    results: Iterable[UnitResult], *, output: str, head: dict[str, Any], started_at: float, rows: str = "captions"
) -> dict[str, Any]:
    """Write `run.json`, last.

    Args:
        results: what the units left on disk, in any order.
        output: the results directory.
        head: configuration, fingerprints and what else the driver knows.
        started_at: when the job began, in seconds since 1970.
        rows: what the rows are, `captions` or `labels`: the folder they lie in and the name they are counted by.

    Returns:
        The content of `run.json`.
    """
    results = sorted(results, key=lambda result: result.unit)
    run = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "created_by": f"sonogloss {__version__}",
        "counts": {
            "inputs": sum(result.inputs for result in results),
            rows: sum(result.rows for result in results),
            "dead_letters": sum(result.dead_letters for result in results),
            "skipped": 0,
        },
        "dead_letter_codes": sum_counts(result.codes for result in results),
        **head,
        "wall_time_s": round(time.time() - started_at, 3),
        "stage_times_s": {
            step: round(seconds, 3) for step, seconds in sum_counts(result.seconds for result in results).items()
        },
        "parts": sorted((asdict(part) for result in results for part in result.parts), key=lambda part: part["path"]),
    }
    files.write_json(files.join(output, RUN_FILE), run)
    return run
