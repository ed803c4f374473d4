"""What every command takes that runs on Beam."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sonogloss.errors import OptionError
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
    wait: bool = option(
        True, group=JOB, help="follow a job on a remote runner; --no-wait submits it and leaves", recorded=False
    )
    on_interrupt: Literal["ask", "cancel", "leave"] = option(
        "ask",
        group=JOB,
        help="what Ctrl-C does with a job on a remote runner; ask leaves it running where nobody can be asked",
        recorded=False,
    )
    min_ram: str | None = option(
        None,
        group=JOB,
        help="memory that a worker needs that runs models, as 16GB; a hint for runners that choose machines by it",
        default_text="none",
        metavar="SIZE",
        recorded=False,
    )
    accelerator: str | None = option(
        None,
        group=JOB,
        help="GPU of workers that run models, as type:nvidia-l4;count:1;install-nvidia-driver; likewise a hint",
        default_text="none",
        metavar="TEXT",
        recorded=False,
    )
    beam_args: Sequence[str] = ()

    @property
    def hints(self) -> dict[str, str]:
        """What the steps with models need, by the names of Beam's resource hints."""
        found = {"min_ram": self.min_ram, "accelerator": self.accelerator}
        return {name: value for name, value in found.items() if value is not None}

    def check(self) -> None:
        """Refuse hints that Beam cannot read."""
        super().check()
        if self.min_ram is not None and not re.fullmatch(r"\d+(\.\d+)?\s*([KMGTPE]i?)?B", self.min_ram):
            raise OptionError(f"--min-ram {self.min_ram!r} is no amount of memory.", "Give one like 16GB.")
