"""Audio-free prompt tuning (Li, Wang and Liu, arXiv 2309.08357).

Two sets of vectors, V and V', are learned to stand before class names in a frozen CLAP's text tower, so that a sentence
about a class lies near the class (V, coarse) and its words do (V', fine). Training uses no audio: sentences and words
take the places that clips and frames have in use.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sonogloss import files
from sonogloss.clap import Clap
from sonogloss.clap.prompted_text import PromptedLabels, width, word_embeddings
from sonogloss.later_fields import values_that_count
from sonogloss.tagging.config import TuningConfig
from sonogloss.tagging.features import KeptWords, TextFeatures, split
from sonogloss.tagging.label_prompts import LabelPrompts
from sonogloss.tagging.tagger import as_words
from sonogloss.tagging.texts import LabelledTexts
from sonogloss.training.curve import LossCurve, StepLog
from sonogloss.training.state import TrainingState

CURVE = "curve.csv"
_VALIDATION_BATCH = 256
_COLUMNS = ("step", "epoch", "loss", "held_out_loss", "held_out_accuracy")


class Prompts(nn.Module):
    """Two sets of vectors that begin as noise, or both as the embeddings of some words."""

    def __init__(self, clap: Clap, config: TuningConfig) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(config.seed)
        for name in ("coarse", "fine"):
            vectors = config.initial_std * torch.randn(config.slots, width(clap), generator=generator)
            if config.initial:
                words = word_embeddings(clap, config.initial)
                vectors = words.repeat(math.ceil(config.slots / len(words)), 1)[-config.slots :]
            self.register_parameter(name, nn.Parameter(vectors))

    coarse: nn.Parameter
    fine: nn.Parameter


def tune_labels(
    *,
    clap: Clap,
    texts: LabelledTexts,
    config: TuningConfig,
    directory: str,
    resume: bool = False,
    log: Callable[[str], None] = print,
) -> LabelPrompts:
    """Learn label prompts from text alone.

    The directory receives `curve.csv` (a row an epoch) and `checkpoint.safetensors`. The same arguments give the same
    prompts on the same kind of device, with or without an interruption.

    Args:
        clap: a CLAP in the layout of transformers' ClapModel; it stays as it is.
        texts: sentences, and which labels are true of each.
        config: the numbers.
        directory: where the run keeps its files.
        resume: continue from the directory's checkpoint, when there is one.
        log: receives a line an epoch.

    Returns:
        The prompts of the epoch with the lowest loss on held-out texts.

    Raises:
        OptionError: the arguments do not fit together, or the loss is no longer finite.
    """
    began = time.perf_counter()
    tuner = _Tuner(clap, texts, config, directory)
    log(
        f"precision float32, device {tuner.labels.device}, {tuner.steps:,} steps, {len(tuner.train):,} texts, "
        f"{len(tuner.held_out):,} held out, {len(texts.labels):,} labels"
    )
    if resume and tuner.state.resume():
        log(f"resuming after step {tuner.state.progress.step:,}")
    tuner.run(log)
    best, progress = tuner.state.best, tuner.state.progress
    return LabelPrompts(
        coarse=best["coarse"].cpu().numpy(),
        fine=best["fine"].cpu().numpy(),
        clap=clap.name,
        clap_fingerprint=clap.fingerprint,
        labels=texts.labels,
        multi_label=config.multi_label,
        temperature=config.temperature,
        compat=config.compat,
        training={
            "texts": len(tuner.train),
            "held_out_texts": len(tuner.held_out),
            "other_words": len(texts.other_words),
            "steps": tuner.steps,
            "best_step": progress.best_step,
            "held_out_loss": progress.best_loss,
            "seconds": round(time.perf_counter() - began, 1),
            "config": values_that_count(config),
        },
    )


class _Tuner:
    """Texts, prompts and the steps of a run."""

    def __init__(self, clap: Clap, texts: LabelledTexts, config: TuningConfig, directory: str) -> None:
        self.config, self.scale = config, 1.0 / clap.temperature
        self.features = TextFeatures.of(texts, clap)  # sentences and words of the frozen tower, computed once
        self.train, self.held_out = split(texts, config)
        self.labels = PromptedLabels(
            clap, [as_words(label).lower() for label in texts.labels], config.slots, compat=config.compat
        )
        keeps = config.keep and texts.other_words
        self.kept = KeptWords(clap, texts.other_words, config.slots, compat=config.compat) if keeps else None
        self.prompts = Prompts(clap, config).to(self.labels.device)
        self.epoch_steps = math.ceil(len(self.train) / config.batch_size)
        self.steps = config.steps or config.epochs * self.epoch_steps
        parameters = dict(self.prompts.named_parameters())
        optimizer = torch.optim.AdamW(
            parameters.values(),
            lr=config.learning_rate,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
        )
        curve = LossCurve(files.join(directory, CURVE), _COLUMNS)
        self.state = TrainingState(directory, run_digest(clap, texts, config), parameters, optimizer, curve)

    def run(self, log: Callable[[str], None]) -> None:
        """All steps that are left; a checkpoint and a row of the curve an epoch."""
        first, losses, count = self.state.progress.step, list[float](), 0
        step_log = StepLog(log, self.steps, first, unit="texts")
        for step in range(first, self.steps):
            epoch, place = divmod(step, self.epoch_steps)
            rows = self._batch(epoch, place)
            losses.append(self._step(step, rows))
            done, count = step + 1, count + len(rows)
            if done % self.epoch_steps and done < self.steps:
                continue
            loss, accuracy = self._validate()
            self.state.keep_if_best(done, loss)
            self.state.curve.add(
                step=f"{done}",
                epoch=f"{epoch + 1}",
                loss=f"{np.mean(losses):.6f}",
                held_out_loss=f"{loss:.6f}",
                held_out_accuracy=f"{accuracy:.4f}",
            )
            self.state.save(done)
            step_log.show(self.state.curve.rows[-1], count=count, validated=True)
            losses, count = [], 0

    def _batch(self, epoch: int, place: int) -> list[int]:
        order = np.random.default_rng([self.config.seed, epoch]).permutation(self.train)
        return order[place * self.config.batch_size : (place + 1) * self.config.batch_size].tolist()

    def _step(self, step: int, rows: Sequence[int]) -> float:
        """One update; returns the loss."""
        seed, config = self.config.seed, self.config
        noise = np.random.default_rng([seed, step, 1]) if config.noise_cosine < 1 else None
        loss, _ = self.features.loss(rows, self._encode(), config, self.scale, noise)
        if self.kept is not None:
            rng = np.random.default_rng([seed, step, 2])
            loss = loss + config.keep * self.kept.loss([self.prompts.coarse, self.prompts.fine], rng)
        loss.backward()
        value = loss.item()
        self.state.update(step, value)
        return value

    def _encode(self) -> tuple[Tensor, Tensor]:
        return self.labels.encode(self.prompts.coarse), self.labels.encode(self.prompts.fine)

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        """Mean loss over the held-out texts, and the share whose best label is true."""
        total, right, labels = 0.0, 0, self._encode()
        for start in range(0, len(self.held_out), _VALIDATION_BATCH):
            rows = self.held_out[start : start + _VALIDATION_BATCH]
            loss, scores = self.features.loss(rows, labels, self.config, self.scale)
            total += loss.item() * len(rows)
            best = scores.argmax(dim=1).cpu().numpy()
            right += int(self.features.truth[rows, best].sum())
        return total / len(self.held_out), right / len(self.held_out)


def run_digest(clap: Clap, texts: LabelledTexts, config: TuningConfig) -> str:
    """What a checkpoint must have in common with the run that goes on from it."""
    settings = {name: value for name, value in values_that_count(config).items() if name not in ("epochs", "steps")}
    running = hashlib.sha256(json.dumps([clap.fingerprint, settings, list(texts.labels)], sort_keys=True).encode())
    running.update("\x00".join(texts.other_words).encode())
    for text, row in zip(texts.texts, texts.truth, strict=True):
        running.update(text.encode() + row.tobytes() + b"\x00")
    return running.hexdigest()
