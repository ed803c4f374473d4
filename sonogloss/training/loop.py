"""DRCap's text-only training, from top to bottom.

The mapper and the language model learn to rebuild a caption from its own CLAP *text* embedding and a few similar
captions. No sound is heard; at inference the embedding of a sound takes the text's place (DRCap, arXiv 2410.09472).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sonogloss import files
from sonogloss.errors import OptionError
from sonogloss.prompts.composed import ComposedPrompt, compose_examples
from sonogloss.prompts.soft import Mapper
from sonogloss.records import FloatArray
from sonogloss.training.batches import Batch, Batches, collate
from sonogloss.training.checkpoint import Progress, load_checkpoint, save_checkpoint, trainable
from sonogloss.training.config import DrcapTrainingConfig
from sonogloss.training.corpus import TextCorpus, Validation, check_corpus, run_fingerprint, usable
from sonogloss.training.neighbours import draw_contexts
from sonogloss.training.objective import answer_loss, check_trunk, prepare


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingRecord:
    """What a run did.

    `loss` is the mean over the last hundred steps, in nats a token; `validation_loss` the best one and `best_step` the
    number of steps after which it was measured (None without validation); `left_out` counts captions too long for the
    language model; `seconds` is this process's share. `language_model` is the trained model, with its adapter if any.
    """

    steps: int
    samples: int
    left_out: int
    seconds: float
    loss: float
    validation_loss: float | None
    best_step: int | None
    config: DrcapTrainingConfig
    language_model: PreTrainedModel

    def as_json(self) -> dict[str, Any]:
        """Everything but the model, for a captioner's `training` entry."""
        values = {name: value for name, value in vars(self).items() if name not in ("language_model", "config")}
        return values | {"config": asdict(self.config)}


def train_drcap(
    *,
    captions: Sequence[str],
    caption_embeddings: FloatArray,
    datastore_captions: Sequence[str],
    datastore_embeddings: FloatArray,
    language_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    mapper: Mapper,
    prompt: ComposedPrompt,
    config: DrcapTrainingConfig,
    directory: str,
    validation: Validation | None = None,
    resume: bool = False,
    log: Callable[[str], None] = print,
) -> TrainingRecord:
    """Train a mapper and a language model on captions alone.

    The modules learn in place. With validation captions the weights of the lowest validation loss are what is left in
    them, otherwise the last ones. The directory receives `loss.csv` (step, loss, validation_loss, lr, samples_per_s)
    and `checkpoint.safetensors`. The same arguments give the same weights on the same kind of device and number of
    threads, with or without an interruption.

    Args:
        captions: n training captions.
        caption_embeddings: [n, d], unit rows, by the CLAP's text tower.
        datastore_captions: m captions to show similar ones from.
        datastore_embeddings: [m, d], unit rows.
        language_model: a causal language model on its device, in float32.
        tokenizer: its tokenizer.
        mapper: d -> the language model's width, with the prompt's audio slots.
        prompt: the layout of a sequence.
        config: the numbers.
        directory: where the run keeps its files.
        validation: held-out captions, looked at every `config.eval_every` steps.
        resume: go on from the directory's checkpoint, when there is one.
        log: receives a line now and then.

    Raises:
        OptionError: the arguments do not fit together, or the loss is no longer finite (the last checkpoint stays).
        ModelFormatError: the language model's logits are not its trunk's outputs times its output matrix.
    """
    corpus = TextCorpus(
        captions=captions,
        embeddings=caption_embeddings,
        datastore_captions=datastore_captions,
        datastore_embeddings=datastore_embeddings,
    )
    check_corpus(corpus, validation, mapper, language_model, prompt)

    # What learns.
    device = language_model.device
    with _own_randomness(device):
        torch.manual_seed(config.seed)  # an adapter begins with random numbers
        model = prepare(language_model, config)
    mapper.to(device).requires_grad_(True).train()
    model.train()
    parameters = trainable(mapper=mapper, language_model=model)
    matrices = [p for p in parameters.values() if p.ndim >= 2]
    others = [p for p in parameters.values() if p.ndim < 2]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=config.betas,
        fused=True,
    )
    log(f"{sum(p.numel() for p in parameters.values()):,} trainable parameters, {config.steps} steps on {device}")

    # What it learns from.
    room = getattr(model.config, "max_position_embeddings", None)
    run = run_fingerprint(corpus, validation, prompt, config)
    corpus, left_out = usable(corpus, prompt, tokenizer, room)
    if left_out:
        log(f"{left_out} captions are longer than the language model's {room} positions and are left out")
    batches = Batches(corpus, prompt, tokenizer, config, room)
    held_out = _validation_batches(validation, corpus, prompt, tokenizer, config, room)
    check_trunk(model, mapper, batches.at(0))

    # Where an earlier run stopped.
    progress, best = Progress(), dict[str, Tensor]()
    rows: list[str] = []
    if resume and (found := load_checkpoint(directory, parameters, optimiser, run)) is not None:
        progress, best = found
        rows = _read_rows(directory)[: progress.step]
        log(f"going on after step {progress.step}")

    # The steps.
    began, first = time.perf_counter(), progress.step
    losses = [float(row.split(",")[1]) for row in rows[-100:]]
    with _own_randomness(device):
        for step in range(first, config.steps):
            tick = time.perf_counter()
            rate = config.learning_rate_at(step)
            for group in optimiser.param_groups:
                group["lr"] = rate
            batch = batches.at(step)
            torch.manual_seed(config.seed * 1_000_003 + step)  # dropout
            loss = answer_loss(model, mapper, batch, precision=config.precision)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(list(parameters.values()), config.grad_clip or math.inf)
            value = loss.item()
            if not math.isfinite(value) or not torch.isfinite(norm):
                _write_rows(directory, rows)
                raise OptionError(
                    f"The loss is no longer finite at step {step + 1} (learning rate {rate:g}).",
                    "Lower the learning rate or clip the gradient, then resume from the last checkpoint.",
                )
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            losses.append(value)
            speed = len(batch.ids) / (time.perf_counter() - tick)

            # A look at what it has not seen.
            done, seen = step + 1, ""
            if held_out and (done % config.eval_every == 0 or done == config.steps):
                validation_loss = _mean_loss(model, mapper, held_out, config)
                seen = f"{validation_loss:.6f}"
                if progress.best_loss is None or validation_loss < progress.best_loss:
                    progress = replace(progress, best_loss=validation_loss, best_step=done)
                    best = {name: p.detach().clone() for name, p in parameters.items()}
            rows.append(f"{done},{value:.6f},{seen},{rate:.4e},{speed:.1f}")

            # What is kept.
            if done % config.checkpoint_every == 0 or done == config.steps:
                progress = replace(progress, step=done)
                save_checkpoint(directory, parameters, optimiser, best, progress, run)
                _write_rows(directory, rows)
            if done % max(1, config.steps // 50) == 0 or seen:
                pace = (done - first) * len(batch.ids) / (time.perf_counter() - began)
                suffix = f", validation {seen}" if seen else ""
                log(f"step {done}: loss {np.mean(losses[-100:]):.4f}{suffix}, {pace:.0f} samples/s")

    with torch.no_grad():
        for name, tensor in best.items():
            parameters[name].copy_(tensor)
    model.eval()
    mapper.eval()
    return TrainingRecord(
        steps=config.steps,
        samples=config.steps * min(config.batch_size, len(corpus.captions)),
        left_out=left_out,
        seconds=time.perf_counter() - began,
        loss=float(np.mean(losses[-100:])),
        validation_loss=progress.best_loss,
        best_step=progress.best_step,
        config=config,
        language_model=model,
    )


def _validation_batches(
    validation: Validation | None,
    corpus: TextCorpus,
    prompt: ComposedPrompt,
    tokenizer: PreTrainedTokenizerBase,
    config: DrcapTrainingConfig,
    room: int | None,
) -> list[Batch]:
    if validation is None:
        return []
    held_out = replace(corpus, captions=validation.captions, embeddings=validation.embeddings)
    held_out, _ = usable(held_out, prompt, tokenizer, room)
    rows = draw_contexts(
        held_out.captions,
        held_out.embeddings,
        corpus.datastore_captions,
        corpus.datastore_embeddings,
        count=config.contexts,
        band=config.band,
        seed=config.seed,
    )
    contexts = [[corpus.datastore_captions[i] for i in row if i >= 0] for row in rows]
    examples = compose_examples(contexts, held_out.captions, prompt, tokenizer, max_tokens=room)
    order = np.argsort([len(example.ids) for example in examples], kind="stable")
    size = config.batch_size
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    return [collate([examples[i] for i in part], held_out.embeddings[part]) for part in parts]


@torch.no_grad()
def _mean_loss(model: Any, mapper: Mapper, batches: Sequence[Batch], config: DrcapTrainingConfig) -> float:
    """The loss over all tokens of all batches."""
    model.eval()
    total = sum(
        answer_loss(model, mapper, batch, precision=config.precision).item() * len(batch.targets) for batch in batches
    )
    model.train()
    return total / sum(len(batch.targets) for batch in batches)


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Leave the global generators as they were found."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


_HEADER = "step,loss,validation_loss,lr,samples_per_s"


def _write_rows(directory: str, rows: Sequence[str]) -> None:
    files.write_bytes(files.join(directory, "loss.csv"), "\n".join([_HEADER, *rows, ""]).encode())


def _read_rows(directory: str) -> list[str]:
    path = files.join(directory, "loss.csv")
    return files.read_bytes(path).decode().splitlines()[1:] if files.exists(path) else []
