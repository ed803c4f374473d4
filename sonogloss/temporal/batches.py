"""The batches of post-training: sounds composed from clips, sentences, and which sentences are true of which sounds.

A batch is a function of the clips, the configuration and the step alone, so that a run resumes exactly.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sonogloss.audio.mel import MelSettings
from sonogloss.records import FloatArray
from sonogloss.temporal.clips import LabelledClip, classes_by_collection, rank
from sonogloss.temporal.config import PostTrainConfig
from sonogloss.temporal.features import ClipPowers, decibels
from sonogloss.temporal.sentences import group_sentence
from sonogloss.temporal.sequences import PairGroup, Variant, compose_power, draw_pairs

BLOCKS = {"A": 2, "B": 3}


@dataclass(frozen=True, kw_only=True, eq=False)
class PairBatch:
    """Blocks of B sounds and their texts.

    Attributes:
        mels: [blocks * B, 1, frames, mels] in decibels.
        texts: one a sound.
        paraphrases: the same in other words; equal to `texts` in stage A.
        also_true: bool [blocks * B, blocks * B], text j is true of sound i.
        clips: ids of the first clip of each group, for the anchor.
        singles: [B, 1, frames, mels] these clips alone.
        labels: their classes.
    """

    mels: Tensor
    texts: tuple[str, ...]
    paraphrases: tuple[str, ...]
    also_true: Tensor
    clips: tuple[str, ...]
    singles: Tensor
    labels: tuple[str, ...]


class PairBatches:
    """The batches of a stage. In an epoch every clip is the first of one pair."""

    def __init__(
        self, stage: str, powers: ClipPowers, clips: Sequence[LabelledClip], mel: MelSettings, config: PostTrainConfig
    ) -> None:
        self._stage, self._powers, self._mel, self._config = stage, powers, mel, config
        classes = classes_by_collection(clips)
        self._clips = [clip for clip in clips if classes[clip.collection] > 1]  # others have no partner
        self._frame_rate = mel.sample_rate / mel.hop_length
        self._epoch, self._groups = -1, list[PairGroup]()
        self.epoch_steps = -(-len(self._clips) // config.groups)

    def at(self, step: int) -> PairBatch:
        """The batch of a step, counted from 0."""
        epoch, number = divmod(step, self.epoch_steps)
        if epoch != self._epoch:
            pairs = draw_pairs(self._clips, seed=self._config.seed, round_=epoch)
            self._groups = sorted(pairs, key=lambda group: rank("step", self._config.seed, epoch, group.id))
            self._epoch = epoch
        size = self._config.groups
        return self.of(self._groups[number * size : (number + 1) * size], salt=step)

    def of(self, groups: Sequence[PairGroup], salt: int = 0) -> PairBatch:
        """The batch of these groups; gains and varied wordings are random functions of the salt."""
        singles = [self._decibels(self._power(group.first, salt), self._mel.padding) for group in groups]
        mels, texts, paraphrases, keys = list[FloatArray](), list[str](), list[str](), list[Hashable]()
        if self._stage == "A":
            mels += singles
            texts += [f"Single sound of {group.first.label}" for group in groups]
            keys += [group.first.label for group in groups]
            mels += [self._pair(group, Variant.FORWARD, salt) for group in groups]
            texts += [f"Combined sound of {group.first.label} and {group.second.label}" for group in groups]
            keys += [frozenset((group.first.label, group.second.label)) for group in groups]
        else:
            for variant in Variant:
                mels += [self._pair(group, variant, salt) for group in groups]
                texts += [group_sentence(group, variant, self._config.pairs, 2 * salt) for group in groups]
                paraphrases += [group_sentence(group, variant, self._config.pairs, 2 * salt + 1) for group in groups]
                keys += [_meaning(group, variant) for group in groups]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        meaning = torch.tensor([numbers[key] for key in keys])
        return PairBatch(
            mels=_stacked(mels),
            texts=tuple(texts),
            paraphrases=tuple(paraphrases or texts),
            also_true=meaning[:, None] == meaning[None],
            clips=tuple(group.first.id for group in groups),
            singles=_stacked(singles),
            labels=tuple(group.first.label for group in groups),
        )

    def singles(self, clips: Sequence[LabelledClip]) -> Tensor:
        """Single clips at their own level: [n, 1, frames, mels] in decibels."""
        return _stacked([self._decibels(self._powers[clip.id], self._mel.padding) for clip in clips])

    def _pair(self, group: PairGroup, variant: Variant, salt: int) -> FloatArray:
        power = compose_power(
            self._power(group.first, salt),
            self._power(group.second, salt),
            variant,
            self._config.pairs,
            frame_rate=self._frame_rate,
            frames=self._mel.frames,
        )
        # Silence follows a sequence: repeated, it would have no order.
        return self._decibels(power, self._mel.padding if variant == Variant.OVERLAY else "pad")

    def _power(self, clip: LabelledClip, salt: int) -> FloatArray:
        share = rank("gain", self._config.seed, salt, clip.id) / 2**62 - 1  # from -1 to 1
        return self._powers[clip.id] * np.float32(10 ** (share * self._config.gain_db / 10))

    def _decibels(self, power: FloatArray, padding: str) -> FloatArray:
        return decibels(power, self._mel.frames, padding, least=self._mel.least_power)


def _meaning(group: PairGroup, variant: Variant) -> Hashable:
    """A key that is equal for sounds of which the same sentences are true."""
    labels = (group.first.label, group.second.label)
    if variant == Variant.OVERLAY:
        return "while", frozenset(labels)
    return "before", labels[::-1] if variant == Variant.REVERSE else labels


def _stacked(mels: Sequence[FloatArray]) -> Tensor:
    return torch.from_numpy(np.stack(mels))[:, None]
