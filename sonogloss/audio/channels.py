"""From the channels of a recording to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sonogloss.records import FloatArray

Mixing = Literal["mean", "first", "loudest"]
Channels = Literal["mean", "first", "loudest", "split"]
CHANNELS: tuple[Channels, ...] = ("mean", "first", "loudest", "split")

# Power of the sum of the channels over the sum of their powers: 1 for channels that have nothing in common or where one
# alone sounds, their number for equal ones. Two equally loud ones at a tenth are correlated by -.9: the mean is 10 dB
# below either.
_CANCELLED = 0.1
_CANCELLED_SHARE = 1 / 3  # of the audible blocks
_AUDIBLE = 1e-8  # mean square, -80 dBFS


@dataclass
class ChannelPowers:
    """What the first pass over a stream adds up about its channels."""

    squares: np.ndarray | None = None
    sum_squares: float = 0.0
    audible: int = 0
    cancelled: int = 0

    def add(self, block: FloatArray) -> None:
        """Add a block `[frames, channels]`, limited to full scale."""
        squares = np.einsum("ij,ij->j", block, block, dtype=np.float64)
        total = block.sum(axis=1, dtype=np.float32)
        sum_squares = float(np.dot(total, total))
        self.squares = squares if self.squares is None else self.squares + squares
        self.sum_squares += sum_squares
        power = float(squares.sum())
        if power > _AUDIBLE * len(block):
            self.audible += 1
            self.cancelled += sum_squares < _CANCELLED * power

    @property
    def antiphase(self) -> bool:
        """Do the channels cancel each other, over all or in a third of what can be heard?"""
        if self.squares is None or self.audible == 0:
            return False
        over_all = self.sum_squares < _CANCELLED * float(self.squares.sum())
        return over_all or self.cancelled >= _CANCELLED_SHARE * self.audible

    @property
    def loudest(self) -> int:
        """The channel with the greatest power; the first of equal ones."""
        return 0 if self.squares is None else int(np.argmax(self.squares))


def to_mono(block: FloatArray, channel: int | None) -> FloatArray:
    """One channel of a block `[frames, channels]`, or the mean of all for None, limited to full scale before."""
    if channel is not None:
        return np.clip(block[:, channel], -1.0, 1.0)
    limited = np.clip(block, -1.0, 1.0)
    return limited[:, 0] if limited.shape[1] == 1 else limited.mean(axis=1, dtype=np.float32)
