from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import ClapFeatureExtractor
from transformers.audio_utils import mel_filter_bank

from sonogloss.audio.mel import LogMel, MelSettings, mel_filters
from sonogloss.errors import ModelFormatError
from sonogloss.records import FloatArray

VALUES: dict[str, Any] = {
    "sampling_rate": 32000,
    "hop_length": 320,
    "fft_window_size": 1024,
    "feature_size": 64,
    "frequency_min": 50,
    "frequency_max": 14000,
    "max_length_s": 10,
    "truncation": "rand_trunc",
    "padding": "repeatpad",
}


def tone(frequency: float, seconds: float, rate: int = 32000) -> FloatArray:
    return np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate).astype(np.float32)


def noise(seconds: float, rate: int = 32000) -> FloatArray:
    return (0.1 * np.random.default_rng(0).standard_normal(int(seconds * rate))).astype(np.float32)


def ours(values: Mapping[str, Any], waveforms: list[FloatArray]) -> FloatArray:
    return LogMel(MelSettings.from_preprocessor(values))(waveforms).numpy()


def reference(values: dict[str, Any], waveforms: list[FloatArray]) -> FloatArray:
    extractor = ClapFeatureExtractor(**values)
    return np.stack([extractor(w, sampling_rate=values["sampling_rate"])["input_features"][0] for w in waveforms])


@pytest.fixture(autouse=True)
def empty_filters_are_no_news() -> None:
    # The extractor builds HTK filters even where it does not use them, and warns that the lowest are empty.
    warnings.filterwarnings("ignore", message="At least one mel filter has all zero values")


@pytest.mark.parametrize(
    ("name", "waveform", "tolerance_db"),
    [
        ("noise", noise(10), 0.001),
        ("quiet noise", 1e-3 * noise(10), 0.001),
        ("silence", np.zeros(320000, dtype=np.float32), 0.0),
        ("loud tone", tone(440, 10), 0.001),
        ("tone in noise", tone(440, 10) + noise(10), 0.001),
        ("3 s, three copies and zeros", noise(3), 0.001),
        ("5 s, two copies", noise(5), 0.001),
        ("0.1 s, a hundred copies", noise(0.1), 0.001),
        ("one sample", np.full(1, 0.5, dtype=np.float32), 0.001),
    ],
)
def test_features_equal_the_reference(name: str, waveform: FloatArray, tolerance_db: float) -> None:
    got, expected = ours(VALUES, [waveform]), reference(VALUES, [waveform])
    assert got.shape == expected.shape == (1, 1, 1001, 64), name
    assert got.dtype == np.float32
    assert np.abs(got - expected).max() <= tolerance_db
    # Where there is sound (60 dB around the loudest band), the two agree closely in any case.
    audible = expected > expected.max() - 60
    assert np.abs(got - expected)[audible].max() < 0.05


@pytest.mark.parametrize(
    "changes",
    [
        {"padding": "pad"},
        {"padding": "repeat"},
        {"frequency_min": 0},
        {"sampling_rate": 48000, "hop_length": 480},
        {"feature_size": 128},
        {"max_length_s": 5},
    ],
)
def test_every_value_of_the_preprocessor_counts(changes: dict[str, Any]) -> None:
    values = VALUES | changes
    waveforms = [noise(3, values["sampling_rate"]), noise(2.5, values["sampling_rate"])]
    got, expected = ours(values, waveforms), reference(values, waveforms)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < 0.001
    assert "frequency_min" not in changes or np.abs(got - ours(VALUES, waveforms)).max() > 1


def test_models_with_fusion_use_the_other_filters() -> None:
    values = VALUES | {"truncation": "fusion", "sampling_rate": 48000, "hop_length": 480}
    expected = reference(values, [noise(10, 48000)])  # four equal images
    got = ours(values, [noise(10, 48000)])
    assert expected.shape == (1, 4, 1001, 64)
    assert np.abs(got - expected).max() < 0.001


@pytest.mark.parametrize(("filters", "norm"), [("slaney", "slaney"), ("htk", None)])
@pytest.mark.parametrize("low", [0, 50, 2000])
def test_filters_equal_the_reference(filters: Any, norm: str | None, low: int) -> None:
    settings = MelSettings.from_preprocessor(
        VALUES | {"frequency_min": low, "truncation": "fusion" if filters == "htk" else "rand_trunc"}
    )
    expected = mel_filter_bank(513, 64, low, 14000, 32000, norm=norm, mel_scale=filters)
    assert settings.filters == filters
    assert np.abs(mel_filters(settings) - expected).max() < 1e-7


def test_ten_seconds_are_1001_frames() -> None:
    settings = MelSettings.from_preprocessor(VALUES)
    assert (settings.window_samples, settings.frames) == (320000, 1001)
    assert LogMel(settings)([]).shape == (0, 1, 1001, 64)


def test_fewer_samples_than_can_be_mirrored_are_an_error() -> None:
    mel = LogMel(MelSettings.from_preprocessor(VALUES))
    assert mel.power(torch.ones(1, 513)).shape == (1, 2, 64)
    with pytest.raises(ValueError, match="512 samples"):
        mel.power(torch.ones(1, 512))


def test_a_batch_gives_what_each_waveform_gives_alone() -> None:
    log_mel = LogMel(MelSettings.from_preprocessor(VALUES))
    waveforms = [noise(10), tone(300, 2), np.zeros(100, dtype=np.float32)]
    together = log_mel(waveforms)
    alone = torch.cat([log_mel([waveform]) for waveform in waveforms])
    assert torch.allclose(together, alone, atol=1e-4)


def test_too_long_and_empty_waveforms_are_errors_and_never_cropped() -> None:
    log_mel = LogMel(MelSettings.from_preprocessor(VALUES))
    for samples in (0, 320001):
        with pytest.raises(ValueError, match=r"1\.\.320000"):
            log_mel([np.zeros(samples, dtype=np.float32)])
    with pytest.raises(ValueError, match="mono"):
        log_mel([np.zeros((100, 2), dtype=np.float32)])


@pytest.mark.parametrize("name", sorted(VALUES))
def test_a_missing_value_is_named_and_never_guessed(name: str) -> None:
    with pytest.raises(ModelFormatError, match=name):
        MelSettings.from_preprocessor({key: value for key, value in VALUES.items() if key != name})


@pytest.mark.parametrize(
    "changes",
    [
        {"truncation": "other"},
        {"padding": "other"},
        {"sampling_rate": 0},
        {"hop_length": "x"},
        {"frequency_max": 17000},
        {"frequency_min": 15000},
        {"feature_size": None},
    ],
)
def test_a_value_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ModelFormatError, match="cannot be used"):
        MelSettings.from_preprocessor(VALUES | changes)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    length=st.integers(1, 320000),
    padding=st.sampled_from(["repeatpad", "repeat", "pad"]),
    loudness=st.sampled_from([1e-4, 0.1, 1.0]),
    truncation=st.sampled_from(["rand_trunc", "fusion"]),
)
def test_features_of_any_length_equal_the_reference(
    length: int, padding: str, loudness: float, truncation: str
) -> None:
    values = VALUES | {"padding": padding, "truncation": truncation}
    waveform = (loudness * np.random.default_rng(length).standard_normal(length)).astype(np.float32)
    got, expected = ours(values, [waveform]), reference(values, [waveform])
    assert np.abs(got - expected[:, :1]).max() <= 0.001


@pytest.mark.parametrize(
    ("padding", "filled"),
    [
        ("pad", [1, 2, 3, 0, 0, 0, 0, 0]),
        ("repeatpad", [1, 2, 3, 1, 2, 3, 0, 0]),
        ("repeat", [1, 2, 3, 1, 2, 3, 1, 2]),
    ],
)
def test_a_short_clip_fills_the_window_as_its_model_learned(padding: str, filled: list[float]) -> None:
    values = {"sampling_rate": 8, "max_length_s": 1, "fft_window_size": 4, "hop_length": 2, "feature_size": 2}
    band = {"frequency_min": 0, "frequency_max": 4, "padding": padding}
    log_mel = LogMel(MelSettings.from_preprocessor(VALUES | values | band))
    assert log_mel.fill(np.array([1, 2, 3], np.float32)).tolist() == filled
    assert log_mel.fill(np.arange(8, dtype=np.float32)).tolist() == list(range(8))


def test_samples_are_cut_to_16_bits_toward_zero_where_the_model_was_trained_so() -> None:
    values = VALUES | {"quantise": "int16", "padding": "pad"}
    step = 1 / 32767
    waveform = np.array([0.6 * step, -0.6 * step, 1.5 * step, -1.5 * step, 2.0, -2.0], np.float32)
    filled = LogMel(MelSettings.from_preprocessor(values)).fill(waveform)
    assert (filled[:6] / step).round(3).tolist() == [0, 0, 1, -1, 32767, -32767]


def test_a_tone_peaks_in_the_band_that_holds_it() -> None:
    settings = MelSettings.from_preprocessor(VALUES)
    filters = mel_filters(settings)
    hertz = np.linspace(0, 16000, len(filters))
    for frequency in (200.0, 440.0, 1000.0, 5000.0, 12000.0):
        loudest = int(LogMel(settings)([tone(frequency, 1)])[0, 0, 10].argmax())
        covered = hertz[filters[:, loudest] > 0]
        assert covered.min() - 32 <= frequency <= covered.max() + 32


def test_ten_times_the_amplitude_are_twenty_decibels() -> None:
    quiet, loud = (ours(VALUES, [scale * noise(1)]) for scale in (0.1, 1.0))
    audible = quiet > -90
    assert np.abs(loud - quiet - 20)[audible].max() < 0.01


def test_a_message_names_the_file_of_the_values() -> None:
    with pytest.raises(ModelFormatError, match=r"^processor_config\.json has no 'padding'"):
        MelSettings.from_preprocessor({k: v for k, v in VALUES.items() if k != "padding"}, file="processor_config.json")


def test_filters_of_another_rate_are_taken_as_they_are() -> None:
    """As msclap does: bin k of the spectrum goes to the band of bin k at the other rate."""
    values = VALUES | {"sampling_rate": 44100, "max_length_s": 7}
    other = MelSettings.from_preprocessor(values | {"filter_rate": 32000})
    assert np.array_equal(mel_filters(other), mel_filters(MelSettings.from_preprocessor(VALUES)))
    assert np.abs(mel_filters(other) - mel_filters(MelSettings.from_preprocessor(values))).max() > 1e-3
    with pytest.raises(ModelFormatError, match=r"does not lie in 0\.\.8000 Hz"):
        MelSettings.from_preprocessor(values | {"filter_rate": 16000})


def test_a_floor_cuts_what_lies_below_and_nothing_else() -> None:
    quiet = 1e-3 * noise(10)
    whole, cut = ours(VALUES, [quiet]), ours(VALUES | {"power_floor": 1e-6}, [quiet])
    assert whole.min() < -60
    assert np.array_equal(cut, np.maximum(whole, np.float32(-60)))
    with pytest.raises(ModelFormatError, match="power_floor must be positive"):
        ours(VALUES | {"power_floor": 0.0}, [quiet])
