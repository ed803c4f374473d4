"""What every command takes that runs on Beam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sonogloss.pipelines.config.fields import Configuration, option
from sonogloss.pipelines.config.parser import JOB


@dataclass(frozen=True, kw_only=True)
class BeamOptions(Configuration):
    """Where a job runs: in this process, in several on this machine, or wherever a runner of Beam's takes it."""

    workers: int | None = option(
        None,
        group=JOB,
        help="worker processes on this machine; each has its own models, and all share the cores",
        default_text="none, all in this process",
        at_least=1,
        recorded=False,
    )
    beam_args: Sequence[str] = ()
