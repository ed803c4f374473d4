"""A step's batch: what it holds, and that it follows from the step alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sonogloss.audio.mel import LogMel, MelSettings
from sonogloss.clap.model_directory import read_json
from sonogloss.temporal.batches import PairBatches
from sonogloss.temporal.config import PairSettings, PostTrainConfig
from sonogloss.temporal.features import ClipPowers, MeasuredClips, decibels, measure_clips, read_part, write_part
from sonogloss.temporal.sequences import PairGroup
from tests.temporal.conftest import labelled

PUBLISHED = PairSettings(relations=("before", "while"), wording="published")


@pytest.fixture(scope="module")
def mel(tiny_clap_dir: Path) -> MelSettings:
    return MelSettings.from_preprocessor(read_json(tiny_clap_dir / "preprocessor_config.json"))


def batches(stage: str, powers: ClipPowers, mel: MelSettings, **changes: object) -> PairBatches:
    config = PostTrainConfig(**{"groups": 4, "gain_db": 3.0, "pairs": PUBLISHED, **changes})  # type: ignore[arg-type]
    return PairBatches(stage, powers, powers.clips, mel, config)


def test_stage_a_shows_singles_and_pairs(powers: ClipPowers, mel: MelSettings) -> None:
    batch = batches("A", powers, mel).at(0)
    assert batch.mels.shape == (8, 1, 1001, 64)
    assert all(text.startswith("Single sound of ") for text in batch.texts[:4])
    assert all(text.startswith("Combined sound of ") and " and " in text for text in batch.texts[4:])
    assert torch.equal(batch.mels[:4], batch.singles)


def test_stage_a_says_what_the_released_code_says(shared_data: Path, powers: ClipPowers, mel: MelSettings) -> None:
    path = shared_data / "golden" / "teminal" / "texts_and_facts.json"
    if not path.is_file():
        pytest.skip("the recorded outputs of the released code are not here")
    for case in json.loads(path.read_text(encoding="utf-8"))["stage_a"]:
        first, second = (replace(clip, label=label) for clip, label in zip(powers.clips, case["pair"], strict=False))
        batch = batches("A", powers, mel).of([PairGroup(id="0" * 32, first=first, second=second)])
        assert batch.texts == (case["text_single"], case["text_double"])


def test_stage_b_shows_three_variants_of_the_same_pairs(powers: ClipPowers, mel: MelSettings) -> None:
    batch = batches("B", powers, mel).at(1)
    assert batch.mels.shape == (12, 1, 1001, 64)
    for row in range(4):
        first, second = batch.texts[row].split(" before ")
        assert batch.texts[4 + row] == f"{second} before {first}"
        assert batch.texts[8 + row] == f"{first} while {second}"
        assert first != second


def test_a_sequence_ends_in_silence_and_an_overlay_is_repeated(powers: ClipPowers, mel: MelSettings) -> None:
    batch = batches("B", powers, mel).at(0)
    assert (batch.mels[:8, 0, 500:] < -99.9).all()
    assert (batch.mels[8:, 0, 500:700] > -99.9).any(dim=-1).any(dim=-1).all()


def test_equal_meanings_are_marked(powers: ClipPowers, mel: MelSettings) -> None:
    many = batches("B", powers, mel, groups=24).at(0)
    for i, one in enumerate(many.texts):
        for j, other in enumerate(many.texts):
            same = one == other or (" while " in one and one.split(" while ") == other.split(" while ")[::-1])
            assert bool(many.also_true[i, j]) == same


def test_wordings_change_from_step_to_step(powers: ClipPowers, mel: MelSettings) -> None:
    source = batches("B", powers, mel, groups=24, pairs=PairSettings())
    group_count = source.epoch_steps * 24
    texts = {text for step in range(4) for text in source.at(step * source.epoch_steps).texts}
    assert any(text.startswith("the sound of ") for text in texts)
    assert any(" followed by " in text for text in texts)
    assert len(texts) > 2 * group_count


def test_an_epoch_meets_every_clip_once_as_the_first_and_steps_stand_alone(
    powers: ClipPowers, mel: MelSettings
) -> None:
    source = batches("B", powers, mel, groups=5)
    assert source.epoch_steps == 5
    epoch = [source.at(step) for step in range(5)]
    assert sorted(clip for batch in epoch for clip in batch.clips) == sorted(powers)
    assert len(epoch[-1].clips) == 4
    again = batches("B", powers, mel, groups=5).at(3)
    assert torch.equal(again.mels, epoch[3].mels)
    assert again.texts == epoch[3].texts
    assert source.at(5).texts != epoch[0].texts


def test_decibels_are_those_of_the_front_end(mel: MelSettings) -> None:
    """Filled window, floor and all, against the waveform's own way."""
    log_mel = LogMel(mel)
    sound = (0.1 * np.random.default_rng(0).standard_normal(3 * 32000)).astype(np.float32)
    power = log_mel.power(torch.from_numpy(sound)[None])[0, :300].numpy()
    ours, theirs = decibels(power, mel.frames, mel.padding), log_mel([sound])[0, 0].numpy()
    joints = [i for i in range(1001) if min(i % 300, 300 - i % 300) <= 2 or i >= 898]
    np.testing.assert_allclose(np.delete(ours, joints, 0), np.delete(theirs, joints, 0), atol=1e-3)
    assert (ours[900:] < -99.9).all()


@pytest.mark.parametrize(("padding", "rows"), [("pad", 3), ("repeat", 10), ("repeatpad", 9)])
def test_windows_are_filled_as_the_clap_fills_them(padding: str, rows: int) -> None:
    filled = decibels(np.ones((3, 2), np.float32), 11 if padding == "repeatpad" else 10, padding)
    assert int((filled[:, 0] == 0).sum()) == rows


def test_parts_come_back_as_they_were(tmp_path: Path) -> None:
    clips = tuple(labelled("dog", number) for number in range(2))
    power = np.random.default_rng(0).random((5, 64)).astype(np.float32)
    write_part(str(tmp_path), "p", MeasuredClips(clips=clips, frames=(2, 3), power=power))
    found = read_part(str(tmp_path), "p")
    assert found.clips == clips
    np.testing.assert_array_equal(ClipPowers([found])[clips[1].id], power[2:])


def test_a_clip_that_cannot_be_read_is_a_dead_letter(mel: MelSettings) -> None:
    measured = measure_clips([labelled("dog", 0)], LogMel(mel), PairSettings())
    assert measured.clips == ()
    assert [letter.code for letter in measured.dead] == ["READ_ERROR"]
