"""Text-only training of a captioner, whatever the method.

A mapper and a language model learn to rebuild a caption from its CLAP *text* embedding and from what the prompt holds
beside it. Training uses no audio; at inference an audio embedding takes the place of the text embedding.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sonogloss import files
from sonogloss.training.batches import Source, collate
from sonogloss.training.config import TrainingConfig
from sonogloss.training.curve import CURVE, LossCurve, StepLog
from sonogloss.training.objective import answer_losses, check_fit, check_trunk, prepare
from sonogloss.training.parallel import ProcessGroup, join_process_group
from sonogloss.training.precision import DIGEST_NAMES, choose_precision, describe_precision
from sonogloss.training.state import TrainingState, dropout_seed, isolated_rng, parameter_groups, trainable_parameters

MEAN_OF = 100
"""Steps that the loss of a record is the mean of."""
_COLUMNS = ("step", "loss", "validation_loss", "score", "lr", "samples_per_s")

Score = Callable[[Any, nn.Module | None], float]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingRecord:
    """What a run did.

    Attributes:
        steps: optimizer steps.
        samples: captions of all steps.
        left_out: captions that are too long for the language model.
        seconds: wall time since the run began or resumed.
        loss: mean over the last hundred steps, in nats a token.
        validation_loss, score: of the weights that were kept; None where nothing was measured.
        best_step: steps done when these weights were measured.
        config: with the precision that was chosen.
        language_model: the trained model, with its adapter if any.
    """

    steps: int
    samples: int
    left_out: int
    seconds: float
    loss: float
    validation_loss: float | None
    score: float | None
    best_step: int | None
    config: TrainingConfig
    language_model: PreTrainedModel

    def as_json(self) -> dict[str, Any]:
        """Everything but the model, for a captioner's `training` entry."""
        values = {name: value for name, value in vars(self).items() if name not in ("language_model", "config")}
        return values | {"config": asdict(self.config)}


def train(
    source: Source,
    *,
    language_model: PreTrainedModel,
    mapper: nn.Module | None,
    config: TrainingConfig,
    directory: str,
    score: Score | None = None,
    resume: bool = False,
    log: Callable[[str], None] = print,
) -> TrainingRecord:
    """Train a mapper and a language model on captions alone; the modules learn in place.

    They are left with the weights of the highest score or, without one, of the lowest validation loss; with the last
    weights where nothing is measured. The directory receives `loss.csv` and `checkpoint.safetensors`. The same
    arguments give the same weights on the same kind of device and number of threads, with or without an interruption.
    Several processes give the weights of one, up to rounding and to dropout, which each process draws for itself.

    Args:
        source: the examples of each step.
        language_model: a causal language model on its device; in float32 when all its weights learn.
        mapper: fills the prompt's audio slots; None when it has none.
        config: the numbers.
        directory: where the run keeps its files.
        score: rates model and mapper, in evaluation mode, every `config.eval_every` steps; larger is better.
        resume: continue from the directory's checkpoint, when there is one.
        log: receives a line now and then, in the main process.

    Raises:
        OptionError: the arguments do not fit together, or the loss is no longer finite (the last checkpoint stays).
        ModelFormatError: the tokenizer is not the language model's, or the logits of the latter are not the outputs of
            its trunk times its output matrix.
        OutputError: a file cannot be written (the last checkpoint stays).
    """
    check_fit(source, language_model, mapper, config)
    group = join_process_group(language_model.device.type)  # the processes that a launcher started
    trainer = _Trainer(source, language_model, mapper, config, directory, score, group)
    if not group.is_main_process:
        log = _no_log
    log(trainer.first_line(config.precision))
    if source.left_out:
        log(f"{source.left_out:,} captions are too long for the language model and are left out")
    check_trunk(trainer.model, mapper, collate(source.at(0)))
    if resume and trainer.state.resume():
        log(f"resuming after step {trainer.state.progress.step:,}")
    return trainer.run(log)


class _Trainer:
    """The models, the state and the steps of a run."""

    def __init__(
        self,
        source: Source,
        language_model: PreTrainedModel,
        mapper: nn.Module | None,
        config: TrainingConfig,
        directory: str,
        score: Score | None,
        group: ProcessGroup,
    ) -> None:
        self.device = language_model.device
        precision: Any = choose_precision(config.precision, self.device.type)
        self.source, self.mapper, self.score, self.group = source, mapper, score, group
        self.config = replace(config, precision=precision)
        with isolated_rng(self.device):
            torch.manual_seed(config.seed)  # an adapter begins with random numbers
            self.model = prepare(language_model, config)
        self.modules = (
            {"language_model": self.model} if mapper is None else {"mapper": mapper, "language_model": self.model}
        )
        if mapper is not None:
            mapper.to(self.device).requires_grad_(True)
        self.held_out = source.held_out()
        parameters = trainable_parameters(**self.modules)
        optimizer = torch.optim.AdamW(
            parameter_groups(parameters.values(), config.weight_decay),
            lr=config.learning_rate,
            betas=config.betas,
            fused=True,
        )
        self.state = TrainingState(
            directory,
            run_fingerprint(source, self.config, validates=bool(self.held_out) or score is not None),
            parameters,
            optimizer,
            LossCurve(files.join(directory, CURVE), _COLUMNS),
            scale_loss=precision == "float16",
            is_main_process=group.is_main_process,
        )

    def first_line(self, asked: str) -> str:
        """What the run computes in, and how much of it there is."""
        count = sum(parameter.numel() for parameter in self.state.parameters.values())
        return (
            f"{describe_precision(asked, self.device.type)}, device {self.device}, {self.config.steps:,} steps, "
            f"{count:,} trainable parameters"
        )

    def run(self, log: Callable[[str], None]) -> TrainingRecord:
        """All steps that are left."""
        config, state = self.config, self.state
        began, first = time.perf_counter(), state.progress.step
        step_log = StepLog(log, config.steps, first)
        self._set_mode(training=True)
        with isolated_rng(self.device):
            for step in range(first, config.steps):
                tick, done = time.perf_counter(), step + 1
                loss, samples = self._step(step)
                seconds = time.perf_counter() - tick
                last = done == config.steps
                measured = self._validate(done) if done % config.eval_every == 0 or last else {}
                state.curve.add(
                    step=f"{done}",
                    loss=f"{loss:.6f}",
                    lr=f"{config.learning_rate_at(step):.4e}",
                    samples_per_s=f"{samples / seconds:.1f}",
                    **measured,
                )
                if done % config.checkpoint_every == 0 or last:
                    state.save(done)
                step_log.show(state.curve.rows[-1], count=samples, validated=bool(measured))
        state.load_best()
        self._set_mode(training=False)
        return TrainingRecord(
            steps=config.steps,
            samples=config.steps * len(self.source.at(0).sequences),
            left_out=self.source.left_out,
            seconds=time.perf_counter() - began,
            loss=round(float(np.mean(state.curve.last("loss", MEAN_OF))), 6),
            validation_loss=state.progress.best_loss,
            score=state.progress.best_score,
            best_step=state.progress.best_step,
            config=config,
            language_model=self.model,
        )

    def _step(self, step: int) -> tuple[float, int]:
        """Gradients of a step and the optimizer's update; returns the loss in nats a token, and the samples."""
        config, group, state = self.config, self.group, self.state
        state.set_learning_rate(config.learning_rate_at(step))
        examples = self.source.at(step)
        own, answers = examples.part(group.rank, group.world_size), examples.answers
        total = torch.zeros((), device=self.device)
        for number in range(config.accumulation):
            part = own.part(number, config.accumulation)
            if not part.sequences:
                continue
            torch.manual_seed(dropout_seed(config.seed, step, number * group.world_size + group.rank))
            losses = answer_losses(self.model, self.mapper, collate(part), precision=config.precision)
            loss = losses.sum() / answers
            state.scaler.scale(loss).backward()
            total += loss.detach()
        if group.world_size > 1:
            self._reduce(total)
        value = total.item()
        state.update(step, value, grad_clip=config.grad_clip)
        return value, len(examples.sequences)

    def _reduce(self, total: Tensor) -> None:
        """Sum gradients and loss over all processes; one without examples adds zeros."""
        for parameter in self.state.parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.group.all_reduce([total, *(p.grad for p in self.state.parameters.values() if p.grad is not None)])

    def _validate(self, done: int) -> dict[str, str]:
        """Measure loss and score, remember the weights if they are the best, and give the cells of the curve."""
        self._set_mode(training=False)
        with torch.no_grad():
            loss, score = self._validation_loss(), self._validation_score()
        self._set_mode(training=True)
        self.state.keep_if_best(done, loss, score)
        cells = {"validation_loss": loss, "score": score}
        return {name: f"{value:.6f}" for name, value in cells.items() if value is not None}

    def _validation_loss(self) -> float | None:
        """The mean over all tokens of the held-out captions."""
        if not self.held_out:
            return None
        total = torch.zeros(2, dtype=torch.float64)
        for examples in self.held_out[self.group.rank :: self.group.world_size]:
            losses = answer_losses(self.model, self.mapper, collate(examples), precision=self.config.precision)
            total += torch.tensor([losses.double().sum().item(), len(losses)])
        on_device = total.to(self.device)
        self.group.all_reduce([on_device])
        return (on_device[0] / on_device[1]).item()

    def _validation_score(self) -> float | None:
        """The main process's score; the others receive it."""
        if self.score is None:
            return None
        score = self.score(self.model, self.mapper) if self.group.is_main_process else 0.0
        shared = torch.tensor([score], device=self.device)
        self.group.all_reduce([shared])
        return shared.item()

    def _set_mode(self, *, training: bool) -> None:
        for module in self.modules.values():
            module.train(training)


def run_fingerprint(source: Source, config: TrainingConfig, *, validates: bool) -> str:
    """Which run a checkpoint belongs to. Settings that change the weights by rounding at most are left out."""
    shaping = replace(config, checkpoint_every=1, eval_every=config.eval_every if validates else 1)
    return repr((source.fingerprint, shaping)).replace(repr(config.precision), repr(DIGEST_NAMES[config.precision]))


def _no_log(line: str) -> None:
    """Processes other than the main one print nothing."""
