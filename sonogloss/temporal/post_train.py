"""TeminAL's post-training: stage A tells one sound from two, stage B in which order they come.

A CLAP continues its training on pairs of clips. Their order is known because the pairs are composed here
(arXiv 2408.09269). Only its last layers and projections change.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from sonogloss import __version__, files
from sonogloss.temporal.batches import PairBatches
from sonogloss.temporal.clips import hold_out_sources
from sonogloss.temporal.config import PostTrainConfig
from sonogloss.temporal.features import ClipPowers
from sonogloss.temporal.objective import Anchor, Validation, make_anchor, stage_loss
from sonogloss.temporal.towers import POSITIONS, Towers
from sonogloss.training.curve import CURVE, LossCurve, StepLog
from sonogloss.training.precision import DIGEST_NAMES, describe_precision
from sonogloss.training.state import TrainingState, isolated_rng, parameter_groups

MEAN_OF = 50
"""Steps that the losses of a record are the means of."""
_COLUMNS = ("stage", "step", "loss", "validation_loss", "validation_order", "lr", "sounds_per_s")


@dataclass(frozen=True, kw_only=True)
class PostTrainRecord:
    """What a run did, for the model card.

    Attributes:
        clips: number of clips it learned from.
        classes: number of their classes.
        validation_clips: number of held-out clips.
        losses: mean loss of each stage's last fifty steps, in nats.
        validation_order: share of held-out forward and reverse sequences that are nearer to their own sentence than to
            that of the other order, after the last stage; None without held-out clips.
        seconds: wall time since the run began or resumed.
        config: with the precision that was chosen.
    """

    clips: int
    classes: int
    validation_clips: int
    losses: dict[str, float]
    validation_order: float | None
    seconds: float
    config: PostTrainConfig

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "config": asdict(self.config)}


def post_train(
    towers: Towers,
    powers: ClipPowers,
    config: PostTrainConfig,
    directory: str,
    *,
    resume: bool = False,
    log: Callable[[str], None] = print,
) -> PostTrainRecord:
    """Train a CLAP on order; its towers change in place.

    The directory receives `loss.csv` and a checkpoint for each stage, `A/checkpoint.safetensors`. The same arguments
    give the same weights on the same kind of device and number of threads, with or without an interruption.

    Args:
        towers: the CLAP.
        powers: the clips, at least two classes a collection.
        config: the numbers.
        directory: where the run keeps its files.
        resume: continue from the directory's checkpoints, when there are any.
        log: receives a line now and then.

    Raises:
        OptionError: too few classes, a loss that is no longer finite (the last checkpoint stays), or a checkpoint of
            another run.
    """
    began, device = time.perf_counter(), towers.model.device
    log(f"{describe_precision(config.precision, device.type)}, device {device}, {config.steps:,} steps a stage")
    precision: Any = towers.precision
    config = replace(config, precision=precision)
    train_clips, held_out = hold_out_sources(powers.clips, config.validation_share, config.seed)
    trainer = _Trainer(
        towers=towers,
        config=config,
        directory=directory,
        digest=_run_digest(towers, powers, config),
        curve=LossCurve(files.join(directory, CURVE), _COLUMNS),
        validation=Validation.of(powers, held_out, towers, config),
        resume=resume,
        log=log,
    )
    anchor: Anchor | None = None
    for stage in config.stages:
        batches = PairBatches(stage, powers, train_clips, towers.mel, config)
        if config.anchor and anchor is None:
            anchor = make_anchor(towers, batches, train_clips)
        trainer.run(stage, batches, anchor)
    towers.eval()
    return PostTrainRecord(
        clips=len(train_clips),
        classes=len({clip.label for clip in train_clips}),
        validation_clips=len(held_out),
        losses={stage: round(trainer.mean_loss(stage), 6) for stage in config.stages},
        validation_order=next(iter(trainer.curve.last("validation_order", 1)), None),
        seconds=time.perf_counter() - began,
        config=config,
    )


@dataclass(frozen=True, kw_only=True)
class _Trainer:
    """What all stages of a run share."""

    towers: Towers
    config: PostTrainConfig
    directory: str
    digest: str
    curve: LossCurve
    validation: Validation | None
    resume: bool
    log: Callable[[str], None]

    def run(self, stage: str, batches: PairBatches, anchor: Anchor | None) -> None:
        """All steps of a stage that are left."""
        config, device = self.config, self.towers.model.device
        state = self._state(stage)
        first = state.progress.step
        step_log = StepLog(self.log, config.steps, first, unit="sounds")
        self.towers.train()
        with isolated_rng(device):
            for step in range(first, config.steps):
                tick, done = time.perf_counter(), step + 1
                rate = config.learning_rate_at(step)
                state.set_learning_rate(rate)
                batch = batches.at(step)
                torch.manual_seed(config.seed * 1_000_003 + step)  # dropout
                loss = stage_loss(stage, self.towers, batch, config, anchor)
                loss.backward()
                value, sounds = loss.item(), len(batch.mels)
                state.update(step, value, grad_clip=config.grad_clip)
                speed = f"{sounds / (time.perf_counter() - tick):.1f}"
                last = done == config.steps
                measured = self._validate(stage) if done % config.eval_every == 0 or last else {}
                cells = {"loss": f"{value:.6f}", "lr": f"{rate:.4e}", "sounds_per_s": speed, **measured}
                self.curve.add(stage=stage, step=f"{done}", **cells)
                if done % config.checkpoint_every == 0 or last:
                    state.save(done)
                step_log.show(self.curve.rows[-1], count=sounds, validated=bool(measured))

    def _state(self, stage: str) -> TrainingState:
        parameters, config = self.towers.parameters(), self.config
        optimizer = torch.optim.AdamW(_groups(parameters, config), lr=config.learning_rate, fused=True)
        state = TrainingState(files.join(self.directory, stage), self.digest, parameters, optimizer, self.curve)
        if self.resume and state.resume(stage=stage):
            self.log(f"stage {stage}: resuming after step {state.progress.step:,}")
        return state

    def _validate(self, stage: str) -> dict[str, str]:
        if self.validation is None:
            return {}
        loss, order = self.validation.measure(stage)
        self.towers.train()
        return {"validation_loss": f"{loss:.6f}", "validation_order": f"{order:.4f}"}

    def mean_loss(self, stage: str) -> float:
        """Mean loss of the last steps of a stage."""
        return float(np.mean(self.curve.last("loss", MEAN_OF, stage=stage)))


def _groups(parameters: Mapping[str, nn.Parameter], config: PostTrainConfig) -> list[dict[str, Any]]:
    """The optimizer's groups: position biases do not decay and have a learning rate of their own."""
    positions = [p for name, p in parameters.items() if POSITIONS in name]
    others = [p for name, p in parameters.items() if POSITIONS not in name]
    own = {"params": positions, "weight_decay": 0.0, "rate": config.position_rate}
    return [*parameter_groups(others, config.weight_decay), own]


def _run_digest(towers: Towers, powers: ClipPowers, config: PostTrainConfig) -> str:
    """Which run a checkpoint belongs to: the CLAP it began with, the clips, and what shapes a step."""
    shape = asdict(config)
    del shape["checkpoint_every"]
    shape["precision"] = DIGEST_NAMES[config.precision]
    facts = [towers.clap.fingerprint, sorted((clip.id, clip.label) for clip in powers.clips), shape]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


_CARD = """---
library_name: transformers
tags: [audio, clap, zero-shot-audio-classification]
---

# A CLAP with a sense of order

`{base}` (fingerprint `{fingerprint}`), post-trained by sonogloss {version} with TeminAL (arXiv 2408.09269) on pairs of
sounds in known order. An ordinary ClapModel directory. Preprocessing and tokenizer are those of the base, its weights
are not: datastores and captioners made with the base do not fit.

## Training data

{clips} clips of {classes} classes from {collections}; {validation_clips} more were held out for validation. The
licenses of the clips and of the base apply to whoever shares these weights.

## Training

{stages}
{tuned} were trained; batch norms kept their statistics. All numbers: `post_training.json`; curve: `training/loss.csv`.

## Evaluation

{order}
`sonogloss zste` measures this, and what the CLAP still knows of single sounds.
"""


def clap_card(base: Mapping[str, str], collections: Sequence[str], record: PostTrainRecord) -> str:
    """The card, as Markdown.

    Args:
        base: `name` and `fingerprint` of the CLAP that the training began with.
        collections: as `--clips` names them.
        record: of the run.
    """
    config = record.config
    loss = "as released (no unit length, no temperature)" if config.loss.released else "as the equations have it"
    stages = [
        f"* Stage {stage}: {config.steps} steps of {config.groups} pairs, TNCE {loss}; mean loss of the last {MEAN_OF} "
        f"steps {record.losses[stage]:.3f}"
        for stage in config.stages
    ]
    if config.tune == "lora":
        tuned = f"An adapter of rank {config.lora_rank} on queries and values, now merged, and the projections"
    else:
        tuned = f"The last {config.layers} layer(s) of each tower and the projections"
    order = "No clips were held out, so nothing is known of unseen ones."
    if record.validation_order is not None:
        order = (
            f"{record.validation_order:.1%} of the sequences of held-out clips were nearer to their own sentence "
            "than to that of the other order; chance is 50 %."
        )
    return _CARD.format(
        base=base["name"],
        fingerprint=base["fingerprint"][:12],
        version=__version__,
        clips=f"{record.clips:,}",
        classes=record.classes,
        collections=", ".join(f"`{name}`" for name in collections),
        validation_clips=f"{record.validation_clips:,}",
        stages="\n".join(stages),
        tuned=tuned,
        order=order,
    )
