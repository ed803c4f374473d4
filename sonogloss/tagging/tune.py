"""Audio-free prompt tuning, from top to bottom (Li, Wang and Liu, arXiv 2309.08357).

Two sets of vectors, V and V', learn to stand before class names in a frozen CLAP's text tower, so that a sentence about
a class lies near the class (V, coarse) and its words do (V', fine). No sound is heard: texts take its place, and at use
clips and frames take the place of sentences and words.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace

import numpy as np
import torch
from torch import Tensor, nn

from sonogloss import files
from sonogloss.clap import Clap
from sonogloss.clap.prompted_text import PromptedLabels, width, word_embeddings
from sonogloss.errors import OptionError
from sonogloss.tagging.config import TuningConfig
from sonogloss.tagging.features import TextFeatures, split
from sonogloss.tagging.kept_words import KeptWords
from sonogloss.tagging.label_prompts import LabelPrompts
from sonogloss.tagging.tagger import as_words
from sonogloss.tagging.texts import LabelledTexts
from sonogloss.training.checkpoint import Progress, load_checkpoint, save_checkpoint

CURVE = "curve.csv"
_LOOK_BATCH = 256
_HEADER = "step,epoch,loss,held_out_loss,held_out_accuracy"


class Prompts(nn.Module):
    """What learns: two sets of vectors that begin with noise, or both with the embeddings of some words."""

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
        resume: go on from the directory's checkpoint, when there is one.
        log: receives a line an epoch.

    Returns:
        The prompts of the epoch with the lowest loss on held-out texts.

    Raises:
        OptionError: the arguments do not fit together, or the loss is no longer finite.
    """
    # What it learns from: sentences and words of the frozen tower, computed once.
    features = TextFeatures.of(texts, clap)
    train, held_out = split(texts, config)
    labels = PromptedLabels(clap, [as_words(label).lower() for label in texts.labels], config.slots)

    kept = KeptWords(clap, texts.other_words, config.slots) if config.keep and texts.other_words else None

    # What learns.
    prompts = Prompts(clap, config).to(labels.device)
    parameters = dict(prompts.named_parameters())
    optimiser = torch.optim.AdamW(
        parameters.values(),
        lr=config.learning_rate,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
    )
    scaler = torch.amp.GradScaler(labels.device.type, enabled=False)  # everything is float32 here
    scale = 1.0 / clap.temperature

    # Where an earlier run stopped.
    an_epoch = math.ceil(len(train) / config.batch_size)
    last = config.steps or config.epochs * an_epoch
    run = run_digest(clap, texts, config)
    progress, best = Progress(), dict[str, Tensor]()
    rows: list[str] = []
    if resume and (found := load_checkpoint(directory, parameters, optimiser, scaler, run)) is not None:
        progress, best = found
        rows = [row for row in _read_rows(directory) if int(row.split(",")[0]) <= progress.step]
        log(f"going on after step {progress.step}")
    log(
        f"{len(train):,} texts to learn from, {len(held_out):,} held out, {len(texts.labels):,} labels, {last:,} steps "
        f"on {labels.device}"
    )

    # The steps.
    began, losses = time.perf_counter(), list[float]()
    for step in range(progress.step, last):
        epoch, place = divmod(step, an_epoch)
        order = np.random.default_rng([config.seed, epoch]).permutation(train)
        batch = order[place * config.batch_size : (place + 1) * config.batch_size].tolist()
        noise = np.random.default_rng([config.seed, step, 1]) if config.noise_cosine < 1 else None
        loss, _ = features.loss(batch, _encode(labels, prompts), config, scale, noise)
        if kept is not None:
            rng = np.random.default_rng([config.seed, step, 2])
            loss = loss + config.keep * kept.loss([prompts.coarse, prompts.fine], rng)
        value = loss.item()
        if not math.isfinite(value):
            raise OptionError(
                f"The loss is no longer finite at step {step + 1}.", "Lower the learning rate, then begin anew."
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        losses.append(value)

        # At the end of an epoch: a look at texts it has not seen, and what a killed run needs.
        done = step + 1
        if done % an_epoch == 0 or done == last:
            held_out_loss, accuracy = _look(features, held_out, _encode(labels, prompts), config, scale)
            if progress.is_beaten_by(held_out_loss, None):
                progress = replace(progress, best_loss=held_out_loss, best_step=done)
                best = {name: parameter.detach().clone() for name, parameter in parameters.items()}
            progress = replace(progress, step=done)
            save_checkpoint(directory, parameters, optimiser, scaler, best, progress, run)
            rows.append(f"{done},{epoch + 1},{np.mean(losses):.6f},{held_out_loss:.6f},{accuracy:.4f}")
            files.write_bytes(files.join(directory, CURVE), "\n".join([_HEADER, *rows, ""]).encode())
            log(
                f"epoch {epoch + 1}: loss {np.mean(losses):.4f}, held out {held_out_loss:.4f}, "
                f"right {accuracy:.3f}, {time.perf_counter() - began:.0f} s"
            )
            losses = []

    return LabelPrompts(
        coarse=best["coarse"].cpu().numpy(),
        fine=best["fine"].cpu().numpy(),
        clap=clap.name,
        clap_fingerprint=clap.fingerprint,
        labels=texts.labels,
        multi_label=config.multi_label,
        temperature=config.temperature,
        training={
            "texts": len(train),
            "held_out_texts": len(held_out),
            "other_words": len(texts.other_words),
            "steps": last,
            "best_step": progress.best_step,
            "held_out_loss": progress.best_loss,
            "seconds": round(time.perf_counter() - began, 1),
            "config": asdict(config),
        },
    )


def _encode(labels: PromptedLabels, prompts: Prompts) -> tuple[Tensor, Tensor]:
    return labels.encode(prompts.coarse), labels.encode(prompts.fine)


@torch.no_grad()
def _look(
    features: TextFeatures, rows: Sequence[int], labels: tuple[Tensor, Tensor], config: TuningConfig, scale: float
) -> tuple[float, float]:
    """Mean loss over some texts, and the share whose best label is true."""
    total, right = 0.0, 0
    for start in range(0, len(rows), _LOOK_BATCH):
        part = rows[start : start + _LOOK_BATCH]
        loss, scores = features.loss(part, labels, config, scale)
        total += loss.item() * len(part)
        best = scores.argmax(dim=1).cpu().numpy()
        right += int(features.truth[part, best].sum())
    return total / len(rows), right / len(rows)


def run_digest(clap: Clap, texts: LabelledTexts, config: TuningConfig) -> str:
    """What a checkpoint must have in common with the run that goes on from it."""
    settings = {name: value for name, value in asdict(config).items() if name not in ("epochs", "steps")}
    running = hashlib.sha256(json.dumps([clap.fingerprint, settings, list(texts.labels)], sort_keys=True).encode())
    running.update("\x00".join(texts.other_words).encode())
    for text, row in zip(texts.texts, texts.truth, strict=True):
        running.update(text.encode() + row.tobytes() + b"\x00")
    return running.hexdigest()


def _read_rows(directory: str) -> Iterator[str]:
    path = files.join(directory, CURVE)
    yield from files.read_bytes(path).decode().splitlines()[1:] if files.exists(path) else []
