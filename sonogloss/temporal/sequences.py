"""Pairs of sounds with a known order: how clips are paired and composed.

A group is two clips A and B of different classes. It gives a forward clip (A then B), a reverse one (B then A) and an
overlay (both at once). Pairs follow from hashes of the clips' ids, never from the order of a listing (TeminAL,
arXiv 2408.09269, section on data).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from sonogloss.errors import OptionError
from sonogloss.records import FloatArray
from sonogloss.temporal.clips import LabelledClip, rank
from sonogloss.temporal.config import PairSettings


class Variant(StrEnum):
    """How the clips of a group are composed."""

    FORWARD = "forward"
    REVERSE = "reverse"
    OVERLAY = "overlay"


@dataclass(frozen=True, kw_only=True)
class PairGroup:
    """Two clips of different classes, A and B; `id` is a digest of their ids."""

    id: str
    first: LabelledClip
    second: LabelledClip


def draw_pairs(clips: Sequence[LabelledClip], *, seed: int, round_: int = 0) -> list[PairGroup]:
    """One group for every clip as A, with a B of another class of the same collection, in order of id.

    The class of B is uniform, and so is B within its class. Adding or removing a clip changes only its own groups.

    Args:
        clips: of at least two classes a collection.
        seed: of the pairs.
        round_: another round gives nearly every clip another partner.
    """
    by_class: dict[str, dict[str, list[LabelledClip]]] = defaultdict(lambda: defaultdict(list))
    for clip in clips:
        by_class[clip.collection][clip.label].append(clip)
    groups = {}
    for clip in clips:
        others = [label for label in by_class[clip.collection] if label != clip.label]
        if not others:
            continue  # no partner of another class
        label = min(others, key=lambda label: rank("label", seed, round_, clip.id, label))
        partner = min(by_class[clip.collection][label], key=lambda c: rank("clip", seed, round_, clip.id, c.id))
        group = make_group(clip, partner)
        groups[group.id] = group
    return [groups[key] for key in sorted(groups)]


def draw_groups(clips: Sequence[LabelledClip], count: int, *, seed: int) -> list[PairGroup]:
    """`count` groups of distinct couples (fewer where there are no more), spread evenly over the clips.

    A couple gives one group only: the forward of the other one would be its reverse.

    Raises:
        OptionError: no clip has a partner of another class.
    """
    groups: dict[frozenset[str], PairGroup] = {}
    idle = 0
    for round_ in range(1000):
        before = len(groups)
        pairs = draw_pairs(clips, seed=seed, round_=round_)
        for group in sorted(pairs, key=lambda group: rank("order", seed, round_, group.id)):
            if len(groups) < count:
                groups.setdefault(frozenset((group.first.id, group.second.id)), group)
        idle = idle + 1 if len(groups) == before else 0
        if len(groups) >= count or idle == 5:
            break
    if not groups:
        raise OptionError(
            "The clips are of one class only: there is no pair to make.", "Give clips of at least two classes."
        )
    return sorted(groups.values(), key=lambda group: group.id)


def make_group(first: LabelledClip, second: LabelledClip) -> PairGroup:
    """The group of A and B.

    Raises:
        ValueError: they are of one class; "A before A" is its own reverse.
    """
    if first.label == second.label:
        raise ValueError(f"two clips of {first.label!r} make no pair")
    digest = hashlib.sha256(f"{first.id}\x00{second.id}".encode()).hexdigest()[:32]
    return PairGroup(id=digest, first=first, second=second)


def ordered(group: PairGroup, variant: Variant) -> tuple[LabelledClip, LabelledClip]:
    """The clips in their order in time."""
    return (group.second, group.first) if variant == Variant.REVERSE else (group.first, group.second)


def levelled(samples: FloatArray, settings: PairSettings) -> FloatArray:
    """A clip at the level of the settings; silence stays silence."""
    if settings.level_db is None:
        return samples
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    return samples * np.float32(10 ** (settings.level_db / 20) / rms) if rms > 0 else samples


def compose(
    first: FloatArray,
    second: FloatArray,
    variant: Variant,
    settings: PairSettings,
    *,
    sample_rate: int,
    window_s: float,
) -> FloatArray:
    """The sound of a group's variant.

    Args:
        first: samples of A, mono, levelled; what is longer than half the window is cut.
        second: samples of B.
        variant: which.
        settings: crossfade and overlay level.
        sample_rate: in Hz.
        window_s: of the CLAP. Its front end repeats a shorter clip, and "A B A B" has no order, so a sequence is padded
            with silence to the whole window. (The released code crops a random half of it.)

    Returns:
        float32 mono in [-1, 1], a whole window for a sequence, as long as the longer clip for an overlay.
    """
    half, fade = round(window_s * sample_rate) // 2, round(settings.crossfade_s * sample_rate)
    first, second = first[:half, None], second[:half, None]
    if variant == Variant.OVERLAY:
        mixed = _over(first, second, 10 ** (settings.overlay_db / 20))
    else:
        pair = (second, first) if variant == Variant.REVERSE else (first, second)
        mixed = np.zeros((2 * half, 1), np.float32)
        joined = _joined(*pair, fade, np.sqrt)
        mixed[: len(joined)] = joined
    peak = float(np.abs(mixed).max(initial=0.0))
    return np.asarray(mixed[:, 0] / np.float32(max(1.0, peak)), np.float32)


def compose_power(
    first: FloatArray, second: FloatArray, variant: Variant, settings: PairSettings, *, frame_rate: float, frames: int
) -> FloatArray:
    """The mel power of a group's variant from those of its clips: :func:`compose`, fast enough for every step.

    It is an approximation: powers of simultaneous sounds are added, and a frame across the joint belongs to one side.

    Args:
        first: mel power of A, [its frames, mels]; what is longer than half the window is cut.
        second: of B.
        variant: which.
        settings: crossfade and overlay level.
        frame_rate: frames a second.
        frames: of a whole window.

    Returns:
        float32 [frames of both, mels] for a sequence, as long as the longer clip for an overlay.
    """
    half, fade = frames // 2, round(settings.crossfade_s * frame_rate)
    first, second = first[:half], second[:half]
    if variant == Variant.OVERLAY:
        return _over(first, second, 10 ** (settings.overlay_db / 10))
    pair = (second, first) if variant == Variant.REVERSE else (first, second)
    return _joined(*pair, fade, lambda ramp: ramp)


def _over(first: FloatArray, second: FloatArray, gain: float) -> FloatArray:
    mixed = np.zeros((max(len(first), len(second)), first.shape[1]), np.float32)
    mixed[: len(first)] += first
    mixed[: len(second)] += second * np.float32(gain)
    return mixed


def _joined(first: FloatArray, second: FloatArray, fade: int, law: Any) -> FloatArray:
    """One after the other, with a crossfade of `fade` rows that is linear in power."""
    fade = min(fade, len(first) // 2, len(second) // 2)
    if not fade:
        return np.concatenate([first, second])
    ramp = law((np.arange(fade, dtype=np.float32) + 0.5)[:, None] / fade)
    crossing = first[-fade:] * ramp[::-1] + second[:fade] * ramp
    return np.concatenate([first[:-fade], crossing, second[fade:]])
