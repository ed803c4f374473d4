"""Random numbers of a run: functions of the seed and the step, so that a checkpoint needs no generator's state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def isolated_rng(device: torch.device) -> Iterator[None]:
    """Restore the global generators of the CPU and of this device afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def dropout_seed(seed: int, step: int, part: int) -> int:
    """The seed of dropout in one part of one step."""
    return ((seed * 1_000_003 + step) * 4_099 + part) % 2**63
