"""The loss of a batch is the sum of its terms, and the validation measures what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sonogloss.temporal.batches import BLOCKS, PairBatches
from sonogloss.temporal.config import PostTrainConfig, TnceSettings
from sonogloss.temporal.features import ClipPowers, MeasuredClips
from sonogloss.temporal.losses import tnce
from sonogloss.temporal.objective import Validation, make_anchor, stage_loss
from sonogloss.temporal.sequences import Variant
from sonogloss.temporal.towers import Towers, unit

from .conftest import labelled

CONFIG = PostTrainConfig(groups=4, precision="float32", words=0.0)


@pytest.fixture(scope="module")
def towers(tiny_clap_dir: Path) -> Towers:
    found = Towers(str(tiny_clap_dir), CONFIG)
    found.eval()
    return found


def batches(stage: str, powers: ClipPowers, towers: Towers, **changes: Any) -> PairBatches:
    return PairBatches(stage, powers, powers.clips, towers.mel, replace(CONFIG, **changes))


@pytest.mark.parametrize("stage", ["A", "B"])
@torch.no_grad()
def test_without_extras_the_loss_is_tnce_of_unit_rows(powers: ClipPowers, towers: Towers, stage: str) -> None:
    batch = batches(stage, powers, towers).at(0)
    audio, text = towers.embed_audio(batch.mels), towers.embed_text(batch.texts)
    expected = tnce(
        unit(audio),
        unit(text),
        blocks=BLOCKS[stage],
        settings=CONFIG.loss,
        scale=1 / towers.clap.temperature,
        also_true=batch.also_true,
    )
    assert torch.allclose(stage_loss(stage, towers, batch, CONFIG), expected)
    released = replace(CONFIG, loss=TnceSettings(released=True))
    plain = tnce(audio, text, blocks=BLOCKS[stage], settings=released.loss)
    assert torch.allclose(stage_loss(stage, towers, batch, released), plain)


@torch.no_grad()
def test_an_anchor_costs_nothing_before_training_and_its_distance_afterwards(
    powers: ClipPowers, tiny_clap_dir: Path
) -> None:
    moved = Towers(str(tiny_clap_dir), CONFIG)
    moved.eval()
    source = batches("B", powers, moved)
    anchor = make_anchor(moved, source, powers.clips)
    assert set(anchor.audio) == set(powers)
    assert set(anchor.text) == {clip.label for clip in powers.clips}
    # The anchor has the clips at their own level.
    quiet = batches("B", powers, moved, gain_db=0.0).at(2)
    assert torch.allclose(
        stage_loss("B", moved, quiet, CONFIG, anchor), stage_loss("B", moved, quiet, CONFIG), atol=1e-5
    )  # fmt: skip
    moved.model.text_projection.linear2.bias.add_(3.0)
    plain = stage_loss("B", moved, quiet, CONFIG)
    labels = unit(moved.embed_text(quiet.labels))
    before = torch.stack([anchor.text[label] for label in quiet.labels])
    distance = 1 - (labels * before).sum(-1).mean()
    assert distance > 0.05
    for weight in (1.0, 3.0):
        loss = stage_loss("B", moved, quiet, replace(CONFIG, anchor=weight), anchor)
        assert torch.allclose(loss, plain + weight * distance, atol=1e-5)


@torch.no_grad()
def test_validation_counts_sequences_nearer_to_their_own_sentence(powers: ClipPowers, towers: Towers) -> None:
    validation = Validation.of(powers, powers.clips, towers, CONFIG)
    assert validation is not None
    loss, order = validation.measure("B")
    batch = validation._batches["B"]
    groups = len(batch.texts) // 3
    assert groups == 9
    audio, text = unit(towers.embed_audio(batch.mels)), unit(towers.embed_text(batch.texts))
    right = 0
    for variant, other in ((0, 1), (1, 0)):
        for row in range(groups):
            sound = audio[variant * groups + row]
            right += bool(sound @ text[variant * groups + row] > sound @ text[other * groups + row])
    assert order == pytest.approx(right / (2 * groups))
    assert loss == pytest.approx(float(stage_loss("B", towers, batch, CONFIG)))
    assert validation.measure("B") == (loss, order)  # the same pairs at every validation
    assert validation.measure("A")[1] == order


def test_validation_pairs_have_fixed_order_and_text(powers: ClipPowers, towers: Towers) -> None:
    one, other = (Validation.of(powers, clips, towers, CONFIG) for clips in (powers.clips, powers.clips[::-1]))
    assert one is not None
    assert other is not None
    assert one._batches["B"].texts == other._batches["B"].texts
    assert torch.equal(one._batches["B"].mels, other._batches["B"].mels)
    assert len(list(Variant)) == 3


def test_there_is_no_validation_where_no_two_classes_of_a_collection_are_held_out(
    powers: ClipPowers, towers: Towers
) -> None:
    """Clips of two collections never meet, so one class in each of two collections gives no pair."""
    one_class = [clip for clip in powers.clips if clip.label == "dog"]
    assert Validation.of(powers, one_class, towers, CONFIG) is None
    assert Validation.of(powers, [], towers, CONFIG) is None
    dogs = [replace(labelled("dog", number), collection="one") for number in range(3)]
    rains = [replace(labelled("rain", number), collection="other") for number in range(3)]
    frames = (120,) * 6
    apart = ClipPowers([MeasuredClips(clips=(*dogs, *rains), frames=frames, power=np.ones((720, 64), np.float32))])
    assert Validation.of(apart, apart.clips, towers, CONFIG) is None
    together = [replace(clip, collection="one") for clip in apart.clips]
    assert Validation.of(apart, together, towers, CONFIG) is not None
