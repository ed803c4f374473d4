"""The loss of post-training, and its validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sonogloss.temporal.batches import BLOCKS, PairBatch, PairBatches
from sonogloss.temporal.clips import LabelledClip, classes_by_collection
from sonogloss.temporal.config import PostTrainConfig
from sonogloss.temporal.features import ClipPowers
from sonogloss.temporal.losses import tnce
from sonogloss.temporal.sequences import Variant, draw_groups
from sonogloss.temporal.towers import Towers, unit

VALIDATION_GROUPS = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Anchor:
    """Unit embeddings before the training, of single sounds (by clip id) and of labels (by text)."""

    audio: dict[str, Tensor]
    text: dict[str, Tensor]


def stage_loss(
    stage: str, towers: Towers, batch: PairBatch, config: PostTrainConfig, anchor: Anchor | None = None
) -> Tensor:
    """The loss of one batch: TNCE between sounds and texts, TNCE between texts and paraphrases, and the anchor's."""
    settings = config.loss

    def contrast(one: Tensor, other: Tensor) -> Tensor:
        if settings.normalised:
            one, other = unit(one), unit(other)
        return tnce(
            one,
            other,
            blocks=BLOCKS[stage],
            settings=settings,
            scale=towers.scale if settings.normalised else 1.0,
            also_true=batch.also_true.to(one.device) if settings.normalised else None,
        )

    text = towers.embed_text(batch.texts)
    loss = contrast(towers.embed_audio(batch.mels), text)
    if config.words and stage == "B":
        loss = loss + config.words * contrast(text, towers.embed_text(batch.paraphrases))
    if anchor is None:
        return loss
    # How far single sounds and their labels have moved.
    audio, text = unit(towers.embed_audio(batch.singles)), unit(towers.embed_text(batch.labels))
    audio_then = torch.stack([anchor.audio[clip] for clip in batch.clips]).to(audio.device)
    text_then = torch.stack([anchor.text[label] for label in batch.labels]).to(text.device)
    return loss + config.anchor * (2 - (audio * audio_then).sum(-1).mean() - (text * text_then).sum(-1).mean())


@torch.no_grad()
def make_anchor(towers: Towers, batches: PairBatches, clips: Sequence[LabelledClip]) -> Anchor:
    """The embeddings of every single clip and every label now."""
    towers.eval()
    audio: dict[str, Tensor] = {}
    for start in range(0, len(clips), 32):
        part = clips[start : start + 32]
        rows = unit(towers.embed_audio(batches.singles(part))).cpu()
        audio |= {clip.id: row for clip, row in zip(part, rows, strict=True)}
    labels = sorted({clip.label for clip in clips})
    return Anchor(audio=audio, text=dict(zip(labels, unit(towers.embed_text(labels)).cpu(), strict=True)))


class Validation:
    """Pairs of held-out clips, the same at every validation."""

    @classmethod
    def of(
        cls, powers: ClipPowers, held_out: Sequence[LabelledClip], towers: Towers, config: PostTrainConfig
    ) -> Validation | None:
        """A validation on these clips; None where no two classes can be paired."""
        usable = any(count > 1 for count in classes_by_collection(held_out).values())
        return cls(powers, held_out, towers, config) if usable else None

    def __init__(
        self, powers: ClipPowers, held_out: Sequence[LabelledClip], towers: Towers, config: PostTrainConfig
    ) -> None:
        groups = draw_groups(held_out, VALIDATION_GROUPS, seed=config.seed)
        self._towers, self._config = towers, config
        self._batches = {stage: PairBatches(stage, powers, held_out, towers.mel, config).of(groups) for stage in BLOCKS}

    @torch.no_grad()
    def measure(self, stage: str) -> tuple[float, float]:
        """The stage's loss, and the share of sequences nearer to their own sentence than to that of the other order.

        The towers are left in evaluation mode.
        """
        self._towers.eval()
        loss = float(stage_loss(stage, self._towers, self._batches[stage], self._config))
        batch = self._batches["B"]
        audio = unit(self._towers.embed_audio(batch.mels)).chunk(len(Variant))
        text = unit(self._towers.embed_text(batch.texts)).chunk(len(Variant))
        margins = [(audio[i] * (text[i] - text[1 - i])).sum(-1) for i in (0, 1)]
        return loss, float((torch.cat(margins) > 0).float().mean())
