"""What `embed_text` and `embed_audio` accept, and what they refuse: a wrong array must never give an embedding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sonogloss.audio import resample
from sonogloss.clap import Clap
from sonogloss.clap.frames import embed_frames
from sonogloss.clap.inputs import checked_texts, checked_waveforms
from sonogloss.clap.prompted_text import embed_words
from sonogloss.errors import OptionError
from sonogloss.records import FloatArray

TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(32000) / 32000)).astype(np.float32)


def refusal(clap: Clap, waveforms: Any, **rate: Any) -> OptionError:
    with pytest.raises(OptionError) as caught:
        clap.embed_audio(waveforms, **rate)
    assert caught.value.what.endswith(".")
    assert caught.value.remedy.endswith(".")
    return caught.value


@pytest.mark.parametrize(
    ("pcm", "step"),
    [
        ((TONE * 32767).round().astype(np.int16), 1 / 32768),
        ((TONE.astype(np.float64) * 2147483647).round().astype(np.int32), 1e-7),
        ((TONE * 127 + 128).round().astype(np.uint8), 1 / 128),
        ((TONE * 32767).round().astype(">i2"), 1 / 32768),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_pcm_is_scaled_to_full_scale(tiny_clap: Clap, pcm: Any, step: float) -> None:
    [samples] = checked_waveforms([pcm], tiny_clap)
    assert samples.dtype == np.float32
    assert np.abs(samples - TONE).max() <= step
    assert np.array_equal(tiny_clap.embed_audio([pcm]), tiny_clap.embed_audio([samples]))


@given(pcm=hnp.arrays(np.int16, st.integers(1, 50)))
def test_every_value_of_16_bits_becomes_its_exact_fraction(tiny_clap: Clap, pcm: Any) -> None:
    [samples] = checked_waveforms([pcm], tiny_clap)
    assert np.array_equal(samples.astype(np.float64), pcm / 32768)


def test_the_extremes_of_every_kind_stay_within_full_scale(tiny_clap: Clap) -> None:
    for kind in (np.int16, np.int32, np.uint8):
        limits = np.iinfo(kind)
        [samples] = checked_waveforms([np.array([limits.min, limits.max], kind)], tiny_clap)
        assert samples[0] == -1.0
        assert 0.99 < samples[1] <= 1.0


@pytest.mark.parametrize("kind", [np.float16, np.float64, ">f4", list, torch.tensor])
def test_other_floats_are_converted(tiny_clap: Clap, kind: Any) -> None:
    waveform = kind(TONE) if kind in (list, torch.tensor) else TONE.astype(kind)
    [samples] = checked_waveforms([waveform], tiny_clap)
    assert samples.dtype == np.float32
    assert np.allclose(samples, TONE, atol=3e-4 if kind is np.float16 else 0)


def test_good_float32_is_handed_on_without_a_copy(tiny_clap: Clap) -> None:
    [samples] = checked_waveforms([TONE], tiny_clap)
    assert np.shares_memory(samples, TONE)


def test_a_caller_may_exceed_full_scale_a_little(tiny_clap: Clap) -> None:
    loud = 15.9 * TONE / np.abs(TONE).max()
    assert np.array_equal(checked_waveforms([loud], tiny_clap)[0], loud)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 777, -1])
def test_samples_that_are_not_numbers_are_refused(tiny_clap: Clap, bad: float, place: int) -> None:
    broken = TONE.copy()
    broken[place] = bad
    assert "Waveform 1 has samples that are NaN or infinite" in refusal(tiny_clap, [TONE, broken]).what


@pytest.mark.parametrize(
    ("waveform", "words"),
    [
        (np.stack([TONE, TONE]), "Waveform 0 has shape (2, 32000)"),
        (np.stack([TONE, TONE], axis=1), "Waveform 0 has shape (32000, 2)"),
        (TONE[None], "Waveform 0 has shape (1, 32000)"),
        (np.float32(0.5), "Waveform 0 has shape ()"),
        (TONE[:0], "Waveform 0 is empty"),
        (TONE * 32768, "not scaled"),
        ((TONE * 127 + 128).astype(np.float64), "not scaled"),
        (TONE.astype(np.int64), "the type int64"),
        (TONE > 0, "the type bool"),
        (TONE.astype(complex), "the type complex128"),
        (np.array(["a", "b"]), "the type <U1"),
        (None, "shape ()"),
        ([[0.1, 0.2], [0.3]], "is not an array"),
        (np.zeros(320001, np.float32), "320001 samples, and the CLAP takes at most 320000 (10 s at 32000 Hz)"),
    ],
)
def test_what_cannot_be_a_clip_is_refused(tiny_clap: Clap, waveform: Any, words: str) -> None:
    assert words in refusal(tiny_clap, [waveform]).what


@pytest.mark.parametrize(
    ("waveforms", "words"),
    [
        (TONE, "not one array of shape (32000,)"),
        (np.stack([TONE, TONE]), "not one array of shape (2, 32000)"),
        (torch.from_numpy(TONE), "not one array of shape (32000,)"),
        ("dog.wav", "not one string"),
        (b"RIFF", "not a bytes"),
        (None, "not None"),
        (Path("dog.wav"), "not a"),
    ],
)
def test_one_clip_is_not_a_list_of_clips(tiny_clap: Clap, waveforms: Any, words: str) -> None:
    assert words in refusal(tiny_clap, waveforms).what


def test_frames_are_checked_as_clips_are(tiny_clap: Clap) -> None:
    clips, _ = embed_frames(tiny_clap, [(TONE * 32767).astype(np.int16)])
    assert np.array_equal(clips, tiny_clap.embed_audio([(TONE * 32767).astype(np.int16)]))
    with pytest.raises(OptionError, match=r"Waveform 0 has shape \(2, 32000\)"):
        embed_frames(tiny_clap, [np.stack([TONE, TONE])])


def tone_at(rate: int, seconds: float) -> FloatArray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 96000])
def test_another_rate_is_resampled(tiny_clap: Clap, rate: int) -> None:
    sound, own = tone_at(rate, 2.0), tone_at(32000, 2.0)
    [samples] = checked_waveforms([sound], tiny_clap, rate)
    assert np.array_equal(samples, resample(sound, rate, 32000))
    found = tiny_clap.embed_audio([sound], sample_rate=rate)
    wanted = tiny_clap.embed_audio([own])
    wrong = tiny_clap.embed_audio([sound])
    assert float(found[0] @ wanted[0]) > 0.98
    assert float(found[0] @ wanted[0]) > float(wrong[0] @ wanted[0])


def test_its_own_rate_changes_nothing(tiny_clap: Clap) -> None:
    assert np.array_equal(tiny_clap.embed_audio([TONE], sample_rate=32000), tiny_clap.embed_audio([TONE]))


@settings(max_examples=60, deadline=None)
@given(rate=st.integers(1000, 96000), window_s=st.floats(0.2, 3.0), own_rate=st.sampled_from([16000, 32000, 48000]))
@example(rate=95715, window_s=7.3333, own_rate=16000)  # resampling rounds this one up
def test_a_full_window_of_any_rate_fits_the_window(rate: int, window_s: float, own_rate: int) -> None:
    clap: Any = SimpleNamespace(sample_rate=own_rate, window_s=window_s)
    [samples] = checked_waveforms([np.zeros(int(window_s * rate), np.float32)], clap, rate)
    longest = int(window_s * own_rate)
    assert longest - own_rate / rate - 2 <= len(samples) <= longest


def test_pcm_of_another_rate_is_scaled_before_it_is_resampled(tiny_clap: Clap) -> None:
    sound = tone_at(44100, 1.0)
    [samples] = checked_waveforms([(sound * 32767).round().astype(np.int16)], tiny_clap, 44100)
    assert np.abs(samples - resample(sound, 44100, 32000)).max() < 1e-3


def test_the_window_counts_in_seconds_of_the_given_rate(tiny_clap: Clap) -> None:
    assert "at most 80000 (10 s at 8000 Hz)" in refusal(tiny_clap, [np.zeros(80001, np.float32)], sample_rate=8000).what


@pytest.mark.parametrize("rate", [0, -1, 44.1, 999, 768_001, float("nan"), "44100", True])
def test_a_rate_that_is_not_in_hertz_is_refused(tiny_clap: Clap, rate: Any) -> None:
    assert "Hz" in refusal(tiny_clap, [TONE], sample_rate=rate).remedy


def test_a_whole_rate_of_another_type_is_taken(tiny_clap: Clap) -> None:
    for rate in (32000.0, np.int64(32000)):
        assert np.array_equal(tiny_clap.embed_audio([TONE], sample_rate=rate), tiny_clap.embed_audio([TONE]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ("a dog barks", "not one string"),
        (b"a dog barks", "not a bytes"),
        (None, "not None"),
        (7, "not an int"),
        (["a dog", None], "Text 1 is None"),
        (["a dog", float("nan")], "Text 1 is a float"),
        ([b"a dog"], "Text 0 is a bytes"),
        ([["a dog"]], "Text 0 is a list"),
    ],
)
@pytest.mark.parametrize("embed", [lambda clap, texts: clap.embed_text(texts), embed_words])
def test_what_is_not_a_list_of_texts_is_refused(
    tiny_clap: Clap, embed: Callable[[Clap, Any], Any], texts: Any, words: str
) -> None:
    with pytest.raises(OptionError, match=words):
        embed(tiny_clap, texts)


def test_any_iterable_of_texts_is_taken(tiny_clap: Clap) -> None:
    texts = ["a dog", "rain"]
    wanted = tiny_clap.embed_text(texts)
    for some in (tuple(texts), iter(texts), np.array(texts), dict.fromkeys(texts)):
        assert np.array_equal(tiny_clap.embed_text(some), wanted)  # type: ignore[arg-type]
    assert checked_texts(iter(texts)) == texts  # type: ignore[arg-type]
