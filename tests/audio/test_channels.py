"""From several channels to one, and the flags that tell of it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.audio import Cutting, WindowPolicy, cut_clips
from sonogloss.audio import decode as decode_module
from sonogloss.audio.channels import CHANNELS, ChannelPowers, Channels, to_mono
from sonogloss.errors import OptionError
from sonogloss.records import Clip, clip_id

RATE = 16000
Encode = Callable[..., bytes]
TONE = 0.4 * np.sin(0.1 * np.arange(3 * RATE))
NOISE = 0.1 * np.random.default_rng(0).standard_normal((3 * RATE, 4))


def cut(data: bytes, channels: Channels = "mean", window_s: float = 10.0) -> list[Clip]:
    policy = WindowPolicy(window_s=window_s, hop_s=window_s, channels=channels)
    return list(cut_clips(data, Cutting(uri="a.wav", policy=policy, sample_rate=RATE)))


@pytest.mark.parametrize(
    ("samples", "antiphase"),
    [
        (np.stack([TONE, TONE], axis=1), False),
        (np.stack([TONE, -TONE], axis=1), True),
        (np.stack([TONE, -0.8 * TONE], axis=1), True),
        (np.stack([TONE, -0.3 * TONE], axis=1), False),  # the mean is 9 dB below the louder channel
        (np.stack([TONE, -TONE], axis=1) + 0.2 * NOISE[:, :2], True),
        (NOISE[:, :2], False),
        (NOISE, False),
        (np.stack([TONE, 0 * TONE], axis=1), False),
        (np.stack([TONE] + [0 * TONE] * 15, axis=1), False),  # one channel of many is no cancellation
        (np.stack([TONE, -TONE, TONE, -TONE], axis=1), True),
        (np.zeros((RATE, 2)), False),
        (np.concatenate([np.stack([TONE, TONE], axis=1), np.stack([TONE, -TONE], axis=1)]), True),
        (np.concatenate([np.stack([TONE, TONE], axis=1)] * 9 + [np.stack([TONE, -TONE], axis=1)]), False),
    ],
)
def test_channels_that_cancel_each_other_are_heard_alone(encode: Encode, samples: np.ndarray, antiphase: bool) -> None:
    (clip, *_) = cut(encode(samples, RATE, subtype="FLOAT"), window_s=30.0)
    assert ("ANTIPHASE" in clip.flags) == antiphase
    assert ("MIXED_DOWN" in clip.flags) != antiphase
    loudest = np.argmax((samples**2).sum(axis=0))
    expected = samples[:, loudest] if antiphase else samples.mean(axis=1)
    assert np.abs(clip.samples - expected).max() < 1e-6


def test_the_louder_of_two_that_cancel_each_other_is_heard(encode: Encode) -> None:
    (clip,) = cut(encode(np.stack([0.8 * TONE, -TONE], axis=1), RATE, subtype="FLOAT"))
    assert clip.samples == pytest.approx(-TONE, abs=1e-6)


@pytest.mark.parametrize("channels", CHANNELS)
def test_one_channel_is_itself_under_every_policy(encode: Encode, channels: Channels) -> None:
    (clip,) = cut(encode(TONE, RATE, subtype="FLOAT"), channels)
    assert clip.samples == pytest.approx(TONE, abs=1e-6)
    assert (clip.flags, clip.member) == ((), None)


@pytest.mark.parametrize("kept", [True, False])
def test_policies(encode: Encode, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kept:
        monkeypatch.setattr(decode_module, "_KEPT_FRAMES", 1000)
    samples = NOISE * [1.0, 0.5, 2.0, 0.1]
    data = encode(samples, RATE, subtype="FLOAT")
    (first,), (loudest,), (mean,) = cut(data, "first"), cut(data, "loudest"), cut(data)
    assert first.samples == pytest.approx(samples[:, 0], abs=1e-6)
    assert loudest.samples == pytest.approx(samples[:, 2], abs=1e-6)
    assert mean.samples == pytest.approx(samples.mean(axis=1), abs=1e-6)
    assert (first.flags, loudest.flags, mean.flags) == ((), (), ("MIXED_DOWN",))
    split = cut(data, "split", window_s=1.0)
    assert len({clip.clip_id for clip in split}) == len(split) == 12
    for number, clip in enumerate(split):
        channel, second = divmod(number, 3)
        assert clip.samples == pytest.approx(samples[second * RATE : (second + 1) * RATE, channel], abs=1e-6)
        assert clip.member == f"#channel={channel + 1}"
        assert clip.clip_id == clip_id("a.wav", clip.member, clip.start_s, clip.end_s)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(OptionError, match="--channels 'middle'"):
        WindowPolicy(channels="middle")  # type: ignore[arg-type]


def test_a_constant_offset_is_flagged_by_its_size(encode: Encode) -> None:
    (below,), (above,) = (cut(encode(TONE + offset, RATE, subtype="FLOAT")) for offset in (0.045, -0.06))
    assert (below.flags, above.flags) == ((), ("DC",))


def test_another_rate_is_flagged(encode: Encode) -> None:
    assert cut(encode(TONE, 8000))[0].flags == ("RESAMPLED",)


@given(
    channels=st.integers(1, 6), frames=st.integers(1, 400), seed=st.integers(0, 99), cuts=st.lists(st.integers(0, 400))
)
def test_powers_do_not_depend_on_blocks(channels: int, frames: int, seed: int, cuts: list[int]) -> None:
    samples = np.random.default_rng(seed).uniform(-1, 1, (frames, channels)).astype(np.float32)
    whole, parts = ChannelPowers(), ChannelPowers()
    whole.add(samples)
    edges = [0, *sorted(min(cut, frames) for cut in cuts), frames]
    for start, stop in pairwise(edges):
        if stop > start:
            parts.add(samples[start:stop])
    assert whole.squares == pytest.approx((samples.astype(np.float64) ** 2).sum(axis=0), rel=1e-5)
    assert parts.squares == pytest.approx(whole.squares, rel=1e-5)
    assert parts.sum_squares == pytest.approx(whole.sum_squares, rel=1e-3, abs=1e-6)
    assert whole.loudest == int(np.argmax((samples**2).sum(axis=0, dtype=np.float64)))


def test_channels_are_limited_before_they_are_mixed() -> None:
    block = np.array([[3.0, -0.5], [0.2, 0.4]], np.float32)
    assert to_mono(block, None) == pytest.approx([0.25, 0.3])
    assert to_mono(block, 0) == pytest.approx([1.0, 0.2])
