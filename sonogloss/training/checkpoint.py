"""What a killed run needs to go on: one safetensors file, written whole.

Randomness is a function of seed and step (see :mod:`~sonogloss.training.batches`), so there is no generator's state to
keep.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from sonogloss import files
from sonogloss.errors import ModelFormatError, OptionError

NAME = "checkpoint.safetensors"

Parameters = Mapping[str, nn.Parameter]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come: steps done, and what the best weights so far were measured to be, after which step."""

    step: int = 0
    best_loss: float | None = None
    best_score: float | None = None
    best_step: int | None = None

    def is_beaten_by(self, loss: float | None, score: float | None) -> bool:
        """Are weights of this loss and score better? The score decides, where there is one."""
        if score is not None:
            return self.best_score is None or score > self.best_score
        return loss is not None and (self.best_loss is None or loss < self.best_loss)


def trainable(**modules: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that learn, by name, a shared one once."""
    named = {f"{part}.{name}": p for part, module in modules.items() for name, p in module.named_parameters()}
    return {name: parameter for name, parameter in named.items() if parameter.requires_grad}


def save_checkpoint(
    directory: str,
    parameters: Parameters,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    best: Mapping[str, Tensor],
    progress: Progress,
    run: str,
) -> None:
    """Write parameters, state of optimiser and scaler, best weights so far and progress; `run` says of which run.

    Raises:
        OutputError: it cannot be written; the checkpoint before it stays.
    """
    tensors = {f"now/{name}": parameter.detach() for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        tensors |= {f"optimiser/{key}/{name}": value for key, value in optimiser.state[parameter].items()}
    tensors |= {f"best/{name}": value for name, value in best.items()}
    facts = {"progress": json.dumps(vars(progress)), "scaler": json.dumps(scaler.state_dict()), "run": run}
    with files.atomic_write(files.join(directory, NAME)) as handle:
        _write_safetensors(handle, tensors, facts)


def load_checkpoint(
    directory: str,
    parameters: Parameters,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    run: str,
) -> tuple[Progress, dict[str, Tensor]] | None:
    """Put a checkpoint's state into the parameters, the optimiser and the scaler of the loss.

    Returns:
        Progress and best weights, or None when the directory has no checkpoint.

    Raises:
        ModelFormatError: the file is damaged or belongs to another model.
        OptionError: it belongs to a run with other settings or data.
    """
    path = files.join(directory, NAME)
    if not files.exists(path):
        return None
    try:
        tensors, facts = _read_safetensors(path)
        progress, scale = Progress(**json.loads(facts["progress"])), json.loads(facts["scaler"])
    except (SafetensorError, KeyError, TypeError, ValueError) as problem:
        raise ModelFormatError(f"{path!r} is not a checkpoint ({problem}).", "Remove it to start anew.") from problem
    if facts["run"] != run:
        raise OptionError(
            f"{path!r} belongs to a run with other settings or captions.",
            "Repeat that run's options, start anew in another directory, or do not resume.",
        )
    if {name for name in tensors if name.startswith("now/")} != {f"now/{name}" for name in parameters}:
        raise ModelFormatError(f"{path!r} holds the weights of another model.", "Remove it to start anew.")
    for name, parameter in parameters.items():
        parameter.data.copy_(tensors[f"now/{name}"])
        for key in ("step", "exp_avg", "exp_avg_sq"):
            if (value := tensors.get(f"optimiser/{key}/{name}")) is not None:
                optimiser.state[parameter][key] = value.to(parameter.device)
    scaler.load_state_dict(scale)
    best = {name.removeprefix("best/"): tensor for name, tensor in tensors.items() if name.startswith("best/")}
    return progress, {name: tensor.to(parameters[name].device) for name, tensor in best.items()}


_KINDS = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}


def _write_safetensors(handle: IO[bytes], tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """The format by hand, one tensor after the other: the library's own function holds all bytes a second time."""
    header: dict[str, Any] = {"__metadata__": dict(facts)}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _KINDS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    said = json.dumps(header).encode()
    said += b" " * (-len(said) % 8)
    handle.write(len(said).to_bytes(8, "little") + said)
    for tensor in tensors.values():
        numbers = tensor.detach().to("cpu").contiguous().reshape(-1)
        handle.write(numbers.view(torch.uint8).numpy().data)  # a view, no copy


def _read_safetensors(path: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors, memory-mapped where the file is on this machine, and what stands beside them."""
    local = files.local_path(path)
    if local is not None:
        with safetensors.safe_open(local, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
    content = files.read_bytes(path)
    facts: dict[str, Any] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return safetensors.torch.load(content), facts["__metadata__"]
