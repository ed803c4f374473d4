"""Pairs are drawn by ids, never of one class, and sound as they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.audio.mel import LogMel, MelSettings
from sonogloss.errors import OptionError
from sonogloss.records import FloatArray
from sonogloss.temporal.clips import LabelledClip
from sonogloss.temporal.config import PairSettings
from sonogloss.temporal.sequences import (
    Variant,
    compose,
    compose_power,
    draw_groups,
    draw_pairs,
    levelled,
    make_group,
    ordered,
)

RATE = 1000


def clip(number: int, label: str, collection: str = "") -> LabelledClip:
    return LabelledClip(id=f"{number:08d}", uri="", label=label, source=f"{number}", collection=collection)


@st.composite
def collections(draw: st.DrawFn) -> list[LabelledClip]:
    labels = draw(st.lists(st.sampled_from("abcde"), min_size=2, max_size=12))
    return [clip(number, label) for number, label in enumerate(["a", "b", *labels])]


@settings(max_examples=50, deadline=None)
@given(clips=collections(), seed=st.integers(0, 100), round_=st.integers(0, 3), data=st.data())
def test_drawing_depends_on_ids_only_and_never_pairs_one_class(
    clips: list[LabelledClip], seed: int, round_: int, data: st.DataObject
) -> None:
    pairs = draw_pairs(clips, seed=seed, round_=round_)
    assert draw_pairs(data.draw(st.permutations(clips)), seed=seed, round_=round_) == pairs
    assert sorted(pair.first.id for pair in pairs) == sorted(c.id for c in clips)
    assert all(pair.first.label != pair.second.label for pair in pairs)
    # A clip that goes away takes only its own pairs with it.
    gone = data.draw(st.sampled_from(clips))
    rest = [c for c in clips if c != gone]
    if len({c.label for c in rest}) == len({c.label for c in clips}):
        kept = [pair for pair in pairs if gone not in (pair.first, pair.second)]
        assert {pair.id for pair in kept} <= {pair.id for pair in draw_pairs(rest, seed=seed, round_=round_)}


def test_partners_change_from_round_to_round_and_with_the_seed() -> None:
    clips = [clip(number, "abcdefgh"[number % 8]) for number in range(80)]
    first = {pair.id for pair in draw_pairs(clips, seed=0)}
    assert len(first & {pair.id for pair in draw_pairs(clips, seed=0, round_=1)}) < 10
    assert len(first & {pair.id for pair in draw_pairs(clips, seed=1)}) < 10


def test_clips_of_two_collections_never_meet() -> None:
    clips = [clip(number, "abcd"[number % 4], collection="xy"[number // 20]) for number in range(40)]
    assert all(pair.first.collection == pair.second.collection for pair in draw_pairs(clips, seed=0))


def test_groups_are_as_many_as_asked_for_or_as_there_are() -> None:
    clips = [clip(number, "abc"[number % 3]) for number in range(9)]
    assert len(draw_groups(clips, 20, seed=0)) == 20
    few = [clip(0, "a"), clip(1, "b")]
    assert len(draw_groups(few, 20, seed=0)) == 1  # B then A is the reverse of A then B
    with pytest.raises(OptionError, match="one class"):
        draw_groups([clip(0, "a"), clip(1, "a")], 5, seed=0)


def test_a_class_makes_no_pair_with_itself() -> None:
    with pytest.raises(ValueError, match="no pair"):
        make_group(clip(0, "a"), clip(1, "a"))


@pytest.mark.parametrize(
    "bad",
    [
        {"crossfade_s": -1.0},
        {"level_db": 3.0},
        {"overlay_db": 99.0},
        {"relations": ("before",)},
        {"relations": ("while",)},
        {"wording": "free"},
        {"relations": ("before", "during", "while")},
    ],
)
def test_settings_are_checked(bad: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        PairSettings(**bad)  # type: ignore[arg-type]


def sounds() -> tuple[FloatArray, FloatArray]:
    return np.full(3 * RATE, 0.25, np.float32), np.full(2 * RATE, 0.5, np.float32)


def composed(variant: Variant, **changes: object) -> FloatArray:
    return compose(*sounds(), variant, PairSettings(**changes), sample_rate=RATE, window_s=10.0)  # type: ignore[arg-type]


def test_sequences_fill_the_window_with_silence_so_that_nothing_repeats_them() -> None:
    forward, reverse = composed(Variant.FORWARD), composed(Variant.REVERSE)
    assert forward.shape == reverse.shape == (10 * RATE,)
    assert (forward[: 3 * RATE] == 0.25).all()
    assert (forward[3 * RATE : 5 * RATE] == 0.5).all()
    assert (forward[5 * RATE :] == 0).all()
    assert (reverse[: 2 * RATE] == 0.5).all()
    assert (reverse[2 * RATE : 5 * RATE] == 0.25).all()


def test_an_overlay_is_the_sum_from_the_beginning() -> None:
    overlay = composed(Variant.OVERLAY, overlay_db=-6.0)
    assert overlay.shape == (3 * RATE,)
    np.testing.assert_allclose(overlay[: 2 * RATE], 0.25 + 0.5 * 10 ** (-6 / 20), rtol=1e-6)
    assert (overlay[2 * RATE :] == 0.25).all()


def test_what_is_longer_than_half_the_window_is_cut_and_peaks_are_limited() -> None:
    long = np.ones(8 * RATE, np.float32)
    forward = compose(long, sounds()[1], Variant.FORWARD, PairSettings(), sample_rate=RATE, window_s=10.0)
    assert (forward[5 * RATE : 7 * RATE] == 0.5).all()
    overlay = compose(long, sounds()[1], Variant.OVERLAY, PairSettings(), sample_rate=RATE, window_s=10.0)
    assert np.abs(overlay).max() == 1.0


def test_a_crossfade_keeps_the_power_and_shortens_the_whole() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.standard_normal(4 * RATE).astype(np.float32) * np.float32(0.1) for _ in range(2)]
    faded = compose(*noise, Variant.FORWARD, PairSettings(crossfade_s=2.0), sample_rate=RATE, window_s=10.0)
    assert (faded[6 * RATE :] == 0).all()
    np.testing.assert_array_equal(faded[: 2 * RATE], noise[0][: 2 * RATE])
    middle = faded[2 * RATE : 4 * RATE]
    assert float(np.square(middle).mean()) == pytest.approx(0.01, rel=0.1)


def test_levels() -> None:
    quiet = levelled(sounds()[0], PairSettings(level_db=-20.0))
    assert float(np.sqrt(np.square(quiet).mean())) == pytest.approx(0.1)
    silence = np.zeros(10, np.float32)
    np.testing.assert_array_equal(levelled(silence, PairSettings(level_db=-20.0)), silence)


@pytest.mark.parametrize("variant", list(Variant))
@pytest.mark.parametrize("crossfade_s", [0.0, 0.5])
def test_power_composed_is_the_power_of_the_composition(variant: Variant, crossfade_s: float) -> None:
    """The short cut of training against the sound itself, away from the joint and for sounds that do not cohere."""
    mel = MelSettings(
        sample_rate=32000,
        window_s=4.0,
        fft_size=1024,
        hop_length=320,
        mel_bins=16,
        frequency_min=50,
        frequency_max=14000,
        filters="slaney",
        padding="repeatpad",
    )
    log_mel, rng = LogMel(mel), np.random.default_rng(3)
    one, two = (0.1 * gain * rng.standard_normal(seconds * 32000) for gain, seconds in ((1.0, 2), (0.3, 1)))
    one, two = one.astype(np.float32), two.astype(np.float32)
    chosen = PairSettings(crossfade_s=crossfade_s, overlay_db=-3.0)
    sound = compose(one, two, variant, chosen, sample_rate=32000, window_s=4.0)
    powers = [log_mel.power(torch.from_numpy(x)[None])[0, : len(x) // 320].numpy() for x in (one, two)]
    short_cut = compose_power(*powers, variant, chosen, frame_rate=100.0, frames=401)
    whole = log_mel.power(torch.from_numpy(sound)[None])[0].numpy()
    frames = len(short_cut)
    assert frames == (200 if variant == Variant.OVERLAY else 300 - round(100 * crossfade_s))
    # Averaged over a fifth of a second, noise tells its power to within a decibel, the joint included.
    means = [m[: frames // 20 * 20].reshape(-1, 20, 16).mean(axis=(1, 2)) for m in (short_cut, whole)]
    np.testing.assert_allclose(10 * np.log10(means[0]), 10 * np.log10(means[1]), atol=1.0)


def test_ordered() -> None:
    group = make_group(clip(0, "a"), clip(1, "b"))
    assert [c.label for c in ordered(group, Variant.REVERSE)] == ["b", "a"]
    assert [c.label for c in ordered(group, Variant.FORWARD)] == ["a", "b"]
