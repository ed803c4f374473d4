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
_FEW_CHANNELS = 7  # numpy adds up to seven numbers one after the other
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
        total = _sum(block)
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
    if block.shape[1] == 1:
        return limit(block)[:, 0]
    if channel is not None:
        return limit(block[:, channel].copy())
    return _sum(limit(block)) / np.float32(block.shape[1])


def limit(block: FloatArray) -> FloatArray:
    """The block within full scale; itself where it is."""
    return block if peak_of(block) <= 1.0 else np.clip(block, -1.0, 1.0)


def peak_of(block: FloatArray) -> float:
    """The largest magnitude; not finite when a sample is not."""
    return max(float(block.max()), -float(block.min()))


def _sum(block: FloatArray) -> FloatArray:
    """The sum of the channels. A column at a time is several times as fast for few, and adds in numpy's order."""
    if block.shape[1] > _FEW_CHANNELS:
        return np.asarray(block.sum(axis=1, dtype=np.float32))
    total = block[:, 0].copy()
    for channel in range(1, block.shape[1]):
        total += block[:, channel]
    return total
