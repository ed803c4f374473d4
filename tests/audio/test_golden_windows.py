"""How the released systems cut sound, as recorded: what short clips become is ours too, where crops lie is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from sonogloss.audio.mel import LogMel, MelSettings
from sonogloss.audio.windows import WindowPolicy, expected_windows


def filler(rate: int, window_s: float, padding: Literal["pad", "repeat"]) -> LogMel:
    return LogMel(
        MelSettings(
            sample_rate=rate,
            window_s=window_s,
            fft_size=8,
            hop_length=4,
            mel_bins=2,
            frequency_min=0,
            frequency_max=rate / 2,
            filters="slaney",
            padding=padding,
        )
    )


def golden(shared_data: Path, system: str) -> Any:
    path = shared_data / "golden" / system / "window_policy.json"
    if not path.is_file():
        pytest.skip("the recorded outputs of the released code are not here")
    return json.loads(path.read_text(encoding="utf-8"))


def test_msclaps_short_clips_are_repeated_and_longer_ones_cropped(shared_data: Path) -> None:
    cases = golden(shared_data, "audio_free_prompt_tuning")["cases"]
    assert {case["channels"] for case in cases} == {1, 2}
    for case in cases:
        source = np.arange(case["channels"] * case["samples_per_channel"], dtype=np.float32)  # channels end to end
        fill, window = filler(case["rate"], case["duration"], "repeat"), case["rate"] * case["duration"]
        indices = case["output_indices"]
        if len(source) <= window:
            assert fill.fill(source).tolist() == indices
        else:  # theirs begins at random, ours has windows at fixed places
            assert indices == list(range(indices[0], indices[0] + window))
            assert fill.fill(source[indices[0] :][:window]).tolist() == indices
            assert expected_windows(len(source) / case["rate"], WindowPolicy(window_s=5, hop_s=5))[0] == (0, 5)


def test_zeraucaps_short_clips_end_in_silence_and_longer_ones_are_cropped(shared_data: Path) -> None:
    policy = golden(shared_data, "zeraucap")
    rate, window_s = policy["sample_rate"], policy["window_seconds"]
    fill = filler(rate, window_s, "pad")
    for case in policy["sequence"]:
        source = np.ones(case["samples"], np.float32)
        cropped = source[case["start"] :][: rate * window_s]
        assert len(cropped) == case["valid"]
        filled = fill.fill(cropped)
        assert len(filled) == case["output_samples"]
        assert filled.sum() == case["valid"]
        first, end = expected_windows(len(source) / rate, WindowPolicy(window_s=window_s, hop_s=window_s))[0]
        assert first == 0  # whatever came before in the sequence
        assert round((end - first) * rate) == case["valid"]
