"""How far a job on this machine is: workers append to a file, the driver follows it while the job runs.

Beam's own metrics exist only when a local job is over, and counters in memory do not reach other processes; a file
does.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

HOUR_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Work:
    """What there is to do: units of work and, where known, their bytes; `before` were done by an earlier run."""

    units: int
    noun: str = "units"
    size: int | None = None
    before: int = 0


@dataclass
class Tally:
    """What the workers have noted so far.

    Attributes:
        done: records that went through.
        failed: records that became dead letters.
        units: units of work finished.
        size: bytes of these units.
        ahead: how much was done of units that are not finished, as shares of a unit.
        audio_s: seconds of sound in the records that went through.
        total: how many records there are, where a step has counted them.
        counted: the moment when it had.
        examples: some of what went through, in words.
    """

    done: int = 0
    failed: int = 0
    units: int = 0
    size: int = 0
    ahead: float = 0.0
    audio_s: float = 0.0
    total: int | None = None
    counted: float = 0.0
    examples: list[str] = field(default_factory=list)

    def share(self, work: Work) -> float:
        """How much of the work is done, from 0 to 1: by bytes where they are known."""
        ahead = max(0.0, self.ahead)
        if not work.size:
            return min(1.0, (self.units + ahead) / max(work.units, 1))
        left = max(work.units - self.units, 1)
        return min(1.0, (self.size + ahead * (work.size - self.size) / left) / work.size)

    def left_s(self, seconds: float, work: Work) -> float | None:
        """How many seconds are left at the speed so far; None when nothing was done."""
        share = self.share(work)
        return seconds / share * (1 - share) if share else None

    def say(self, noun: str, seconds: float, work: Work | None) -> str:
        """One line for a person."""
        words = [f"{self.done:,} {noun}", f"{self.done / max(seconds, 1e-9):,.1f} a second"]
        if not self.done:
            words = [f"no {noun} yet"]
        elif self.total:
            words[0] = f"{self.done:,} of {self.total:,} {noun}"
            seconds_each = (time.monotonic() - self.counted) / self.done
            words.append(f"about {in_words(max(0, self.total - self.done) * seconds_each)} to go")
        if self.failed:
            words.append(f"{self.failed:,} failed")
        if work is None or not work.units:
            return ", ".join(words)
        words.append(f"{work.before + self.units:,} of {work.before + work.units:,} {work.noun}")
        if work.before:
            words[-1] += f" ({work.before:,} done before)"
        if self.audio_s:
            total = f" of about {in_words(self.audio_s / share)}" if (share := self.share(work)) else ""
            words.append(f"{in_words(self.audio_s)}{total} of sound")
        if (left := self.left_s(seconds, work)) is not None:
            words.append(f"about {in_words(left)} to go")
        return ", ".join(words)

    def as_json(self, seconds: float, work: Work | None) -> dict[str, Any]:
        """The same for a program."""
        entries: dict[str, Any] = {
            "done": self.done,
            "failed": self.failed,
            "audio_s": round(self.audio_s, 1),
            "seconds": round(seconds, 1),
        }
        if work is None:
            return entries
        left = self.left_s(seconds, work)
        return {
            **entries,
            work.noun: self.units,
            "total": work.units,
            "taken_over": work.before,
            "left_s": None if left is None else round(left, 1),
        }


def in_words(seconds: float) -> str:
    """Seconds in the unit that a person would use."""
    if seconds >= 2 * HOUR_S:
        return f"{seconds / HOUR_S:,.1f} h" if seconds < 100 * HOUR_S else f"{seconds / HOUR_S:,.0f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


class Tail:
    """Follows a progress file; each look reads only what was appended since the last."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._offset = 0
        self.tally = Tally()

    def look(self) -> Tally:
        """Read on and return the sum of all so far. A line that is not finished is left for the next look."""
        with open(self._path, "rb") as handle:
            handle.seek(self._offset)
            whole, newline, _ = handle.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        for line in whole.splitlines():
            if line.startswith(b"of "):
                self.tally.total = (self.tally.total or 0) + int(line[3:])
                self.tally.counted = self.tally.counted or time.monotonic()
                continue
            if line.startswith(b"eg "):
                self.tally.examples.append(json.loads(line[3:]))
                continue
            done, failed, units, size, *sound = line.split()
            self.tally.done += int(done)
            self.tally.failed += int(failed)
            self.tally.units += int(units)
            self.tally.size += int(size)
            if sound:
                self.tally.ahead += float(sound[0])
                self.tally.audio_s += float(sound[1])
        return self.tally
