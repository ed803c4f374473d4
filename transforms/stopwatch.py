"""How long a job took, also when the clock of the machine was set meanwhile."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stopwatch:
    """Starts when it is made; it may be read in another process, or on another machine by that one's clock."""

    wall: float = field(default_factory=time.time)
    steady: float = field(default_factory=time.monotonic)
    machine: str = field(default_factory=platform.node)

    def seconds(self) -> float:
        """Seconds since it was made, never negative."""
        if self.machine == platform.node():
            return max(0.0, time.monotonic() - self.steady)
        return max(0.0, time.time() - self.wall)
