"""What changes while a run trains, and how it is saved, resumed and stepped. All trainings share it.

Random numbers are functions of the seed and the step, so that a checkpoint needs no generator's state.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from sonogloss import files
from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.training.curve import LossCurve


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Steps done; and loss, score and step of the best weights so far."""

    step: int = 0
    best_loss: float | None = None
    best_score: float | None = None
    best_step: int | None = None

    def is_worse_than(self, loss: float | None, score: float | None) -> bool:
        """Are weights of this loss and score better? The score decides where there is one."""
        if score is not None:
            return self.best_score is None or score > self.best_score
        return loss is not None and (self.best_loss is None or loss < self.best_loss)


class TrainingState:
    """Parameters, optimizer, progress, best weights and loss curve of one run.

    Args:
        directory: where the checkpoint is kept.
        digest: of all that shapes the weights. A checkpoint with another digest is refused.
        parameters: what the optimizer changes, by name.
        optimizer: AdamW. A parameter group's `rate` multiplies the learning rate.
        curve: the loss curve.
        scale_loss: scale the loss, for gradients in float16.
        is_main_process: only the main process writes files.
    """

    def __init__(
        self,
        directory: str,
        digest: str,
        parameters: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        curve: LossCurve,
        *,
        scale_loss: bool = False,
        is_main_process: bool = True,
    ) -> None:
        self.parameters, self.curve = parameters, curve
        self.progress, self.best = Progress(), dict[str, Tensor]()
        self._directory, self._digest, self._optimizer = directory, digest, optimizer
        self._main = is_main_process
        device = next(iter(parameters.values())).device.type
        self.scaler = torch.amp.GradScaler(device, enabled=scale_loss)

    def set_learning_rate(self, rate: float) -> None:
        """The learning rate of the next step."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group.get("rate", 1.0)

    def update(self, step: int, loss: float, *, grad_clip: float = 0.0) -> None:
        """One step of the optimizer with the gradients that are there.

        Args:
            step: counted from 0.
            loss: of the step.
            grad_clip: largest norm of the gradient; 0 does not clip.

        Raises:
            OptionError: loss or gradient is not finite. The curve is written, the last checkpoint stays.
        """
        self.scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(list(self.parameters.values()), grad_clip or math.inf)
        # With a scaled loss an infinite gradient only means that the scale is too large: the scaler skips the step.
        if not math.isfinite(loss) or not (self.scaler.is_enabled() or torch.isfinite(norm)):
            self._write_curve()
            raise OptionError(
                f"The loss is no longer finite at step {step + 1:,}; {self._directory!r} keeps the last checkpoint.",
                "Lower the learning rate or clip the gradient, and name another directory.",
            )
        self.scaler.step(self._optimizer)
        self.scaler.update()
        self._optimizer.zero_grad(set_to_none=True)

    def keep_if_best(self, step: int, loss: float | None, score: float | None = None) -> None:
        """Remember the weights after so many steps if they are the best so far."""
        if self.progress.is_worse_than(loss, score):
            self.progress = replace(self.progress, best_loss=loss, best_score=score, best_step=step)
            self.best = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    def load_best(self) -> None:
        """Put the best weights into the parameters; without a validation the last ones stay."""
        with torch.no_grad():
            for name, tensor in self.best.items():
                self.parameters[name].copy_(tensor)

    def save(self, step: int) -> None:
        """Write the curve and a checkpoint after so many steps.

        Raises:
            OutputError: it cannot be written; the checkpoint before it stays.
        """
        self.progress = replace(self.progress, step=step)
        self._write_curve()  # first: resuming cuts rows off that a checkpoint lacks, and cannot restore missing ones
        if not self._main:
            return
        tensors = {f"now/{name}": parameter.detach() for name, parameter in self.parameters.items()}
        for name, parameter in self.parameters.items():
            tensors |= {f"optimiser/{key}/{name}": value for key, value in self._optimizer.state[parameter].items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        metadata = {
            "progress": json.dumps(vars(self.progress)),
            "scaler": json.dumps(self.scaler.state_dict()),
            "run": self._digest,
        }
        write_tensors(files.join(self._directory, CHECKPOINT), tensors, metadata)

    def resume(self, **rows: str) -> bool:
        """Continue from the directory's checkpoint.

        Args:
            **rows: cells that the curve's rows of this run have, where several runs share a curve.

        Returns:
            False when there is no checkpoint.

        Raises:
            ModelFormatError: the file is damaged or belongs to another model.
            OptionError: it belongs to a run with other settings or data.
        """
        path = files.join(self._directory, CHECKPOINT)
        if not files.exists(path):
            return False
        tensors, metadata = read_tensors(path)
        try:
            progress, scale = Progress(**json.loads(metadata["progress"])), json.loads(metadata["scaler"])
            digest = metadata["run"]
        except (KeyError, TypeError, ValueError) as problem:
            raise ModelFormatError(
                f"{path!r} is not a checkpoint ({problem}).", "Remove it to start anew."
            ) from problem
        if digest != self._digest:
            raise OptionError(
                f"{path!r} belongs to a run with other settings or data.",
                "Repeat that run's options, name another directory, or do not resume.",
            )
        if {name for name in tensors if name.startswith("now/")} != {f"now/{name}" for name in self.parameters}:
            raise ModelFormatError(f"{path!r} holds the weights of another model.", "Remove it to start anew.")
        self._load(tensors)
        self.scaler.load_state_dict(scale)
        self.progress = progress
        self.curve.load(progress.step, **rows)
        return True

    def _load(self, tensors: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.data.copy_(tensors[f"now/{name}"])
            for key in ("step", "exp_avg", "exp_avg_sq"):
                if (value := tensors.get(f"optimiser/{key}/{name}")) is not None:
                    self._optimizer.state[parameter][key] = value.to(parameter.device)
            if (best := tensors.get(f"best/{name}")) is not None:
                self.best[name] = best.to(parameter.device)

    def _write_curve(self) -> None:
        if self._main:
            self.curve.write()


def trainable_parameters(**modules: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that learn, by name, a shared one once."""
    named = {f"{part}.{name}": p for part, module in modules.items() for name, p in module.named_parameters()}
    return {name: parameter for name, parameter in named.items() if parameter.requires_grad}


def parameter_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """An optimizer's groups: matrices decay, biases and normalizations do not."""
    parameters = list(parameters)
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


CHECKPOINT = "checkpoint.safetensors"

_DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}


def write_tensors(path: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and text in the safetensors format.

    The library's own function holds all bytes a second time, which for a large model is more than there is.

    Raises:
        OutputError: it cannot be written; a file that was there stays.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with files.atomic_write(path) as handle:
        handle.write(len(encoded).to_bytes(8, "little") + encoded)
        for tensor in tensors.values():
            numbers = tensor.detach().to("cpu").contiguous().reshape(-1)
            handle.write(numbers.view(torch.uint8).numpy().data)  # a view, no copy


def read_tensors(path: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors, memory-mapped where the file is on this machine, and the text beside them.

    Raises:
        ModelFormatError: the file is damaged.
    """
    try:
        local = files.local_path(path)
        if local is not None:
            with safetensors.safe_open(local, framework="pt") as opened:
                return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
        content = files.read_bytes(path)
        header: dict[str, Any] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return safetensors.torch.load(content), header["__metadata__"]
    except (SafetensorError, KeyError, ValueError) as problem:
        raise ModelFormatError(f"{path!r} is not a checkpoint ({problem}).", "Remove it to start anew.") from problem


@contextmanager
def isolated_rng(device: torch.device) -> Iterator[None]:
    """Restore the global generators of the CPU and of this device afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def dropout_seed(seed: int, step: int, part: int) -> int:
    """The seed of dropout in one part of one step."""
    return ((seed * 1_000_003 + step) * 4_099 + part) % 2**63
