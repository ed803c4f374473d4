"""Load a causal language model with its tokenizer, merge an adapter into it, and keep its weights as small integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging as transformers_logging

from sonogloss.decoding.adapter import merge_adapter
from sonogloss.decoding.beam_state import check_supported
from sonogloss.decoding.gguf_file import SUFFIX as GGUF
from sonogloss.decoding.gguf_file import gguf_directory
from sonogloss.decoding.sequences import end_of_text
from sonogloss.decoding.stop_criteria import StopCriteria
from sonogloss.errors import MissingInputError, ModelFormatError, OptionError
from sonogloss.hub import hub_hint, hub_id
from sonogloss.onednn_linear import linear, use_onednn

Precision = Literal["float32", "bfloat16", "float16", "int8"]

_RESTORE = "Restore the directory, or save the model again with save_pretrained."


@dataclass(frozen=True, kw_only=True, eq=False)
class LanguageModel:
    """A causal language model, in evaluation mode on its device, and its tokenizer.

    Args:
        model: of transformers.
        tokenizer: names an end-of-text token.
        compiled_forward: the model's `forward`, compiled for fixed shapes; None to run it uncompiled.
    """

    model: Any  # a PreTrainedModel, which is typed in part, as unions with dict and None
    tokenizer: PreTrainedTokenizerBase
    compiled_forward: Callable[..., Any] | None = None
    _stop_criteria: dict[tuple[str, ...], StopCriteria] = field(default_factory=dict, init=False, repr=False)

    @property
    def eos_id(self) -> int:
        """The id that ends an answer."""
        return end_of_text(self.tokenizer)

    @property
    def bos_id(self) -> int | None:
        """The id that begins a text, where the tokenizer names one."""
        bos: int | None = self.tokenizer.bos_token_id
        return bos

    @property
    def pad_id(self) -> int:
        """The id of padding: the tokenizer's, or EOS where it names none; padding is masked."""
        pad: int | None = self.tokenizer.pad_token_id
        return self.eos_id if pad is None else pad

    @property
    def width(self) -> int:
        """Width of the input vectors."""
        return int(self.model.get_input_embeddings().weight.shape[1])

    @property
    def vocabulary(self) -> int:
        """Number of tokens that the model has embeddings for."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    def stop_criteria(self, stop: tuple[str, ...]) -> StopCriteria:
        """The criteria for these stop strings; made once, as that goes through the whole vocabulary."""
        if stop not in self._stop_criteria:
            self._stop_criteria[stop] = StopCriteria(self.tokenizer, self.eos_id, stop)
        return self._stop_criteria[stop]

    @property
    def max_positions(self) -> int | None:
        """The longest sequence in tokens, where the model has such a limit."""
        limit: int | None = getattr(self.model.config, "max_position_embeddings", None)
        return limit


def load_language_model(
    name: str,
    *,
    adapter: str | None = None,
    device: str = "cpu",
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    compiled: bool = False,
) -> LanguageModel:
    """Load a language model from safetensors files; code and pickles that come with a model never run.

    Args:
        name: a local directory in transformers' layout, a GGUF file, or `hf:owner/name` or a bare name such as `gpt2`
            on the model hub; only these use the network.
        adapter: a local directory with a peft adapter, which is merged into the weights.
        device: where it runs, as torch names it.
        dtype: kind of the weights: `float32`, `bfloat16`, `float16`, or `int8` (linear layers as small integers; the
            model computes in float32 on a CPU and in bfloat16 elsewhere). By default float32 on a CPU, elsewhere the
            kind in the files.
        revision: of a hub id.
        compiled: compile the model for decoding: minutes at the start for faster steps on a GPU. Captions are the same
            up to rounding.

    Raises:
        MissingInputError: the name is neither a directory nor a model on the hub.
        ModelFormatError: a file is missing or malformed, or beam search does not support the model.
        OptionError: there is no such kind of weights.
    """
    name = language_model_directory(name)
    model, tokenizer = _load(name, revision=revision, dtype=_compute_dtype(dtype, torch.device(device)))
    if adapter is not None:
        model = merge_adapter(model, adapter)
    if dtype == "int8":
        to_int8(model)
    use_onednn(model)
    # A checkpoint's own generation settings (sampling, penalties) must not change our search.
    model.generation_config = GenerationConfig()
    loaded = LanguageModel(model=model.to(device).eval(), tokenizer=tokenizer)
    if max(loaded.eos_id, loaded.bos_id or 0, loaded.pad_id) >= loaded.vocabulary:
        raise ModelFormatError(
            f"The tokenizer of {name!r} has special tokens that the model's vocabulary lacks.", _RESTORE
        )
    check_supported(loaded.model)
    return replace(loaded, compiled_forward=torch.compile(loaded.model.forward, dynamic=False)) if compiled else loaded


def language_model_directory(name: str) -> str:
    """The name itself, or the directory with the dequantized weights where it is a GGUF file.

    Raises:
        OptionError: the package `gguf` is not installed.
        ModelFormatError: the file is damaged, or holds another kind of model.
    """
    if not (name.endswith(GGUF) and Path(name).is_file()):
        return name
    with without_progress_bar():
        return str(gguf_directory(Path(name)))


def _load(name: str, *, revision: str | None, dtype: torch.dtype | Literal["auto"]) -> tuple[Any, Any]:
    """The model and the tokenizer, from a directory or from the hub."""
    local = bool(name) and Path(name).is_dir()
    place = name if local else hub_id(name, bare=True)
    if place is None:
        raise MissingInputError(
            f"The language model {name!r} is not a directory.", f"Name a directory or a GGUF file; {hub_hint(name)}."
        )
    if local:
        _check_files(Path(name))
    options: dict[str, Any] = {"local_files_only": local, "revision": revision, "trust_remote_code": False}
    with without_progress_bar():
        try:
            model = AutoModelForCausalLM.from_pretrained(place, dtype=dtype, use_safetensors=True, **options)
            return model, AutoTokenizer.from_pretrained(place, **options)
        except (SafetensorError, RuntimeError, ValueError, KeyError, OSError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            if local:
                raise ModelFormatError(f"The language model {name!r} cannot be loaded ({reason}).", _RESTORE) from error
            raise MissingInputError(
                f"The language model {name!r} cannot be loaded from the model hub ({reason}).",
                "Check the name and the network, or name a local directory with safetensors weights.",
            ) from error


def _compute_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype | Literal["auto"]:
    """The kind of number that a model is loaded in and computes with."""
    if isinstance(dtype, torch.dtype):
        return dtype
    on_cpu = device.type == "cpu"
    if dtype is None:
        return torch.float32 if on_cpu else "auto"
    if dtype not in get_args(Precision):
        raise OptionError(
            f"Weights of the kind {dtype!r} are unknown.",
            f"Choose one of {', '.join(get_args(Precision))}.",
        )
    if dtype == "int8":
        return torch.float32 if on_cpu else torch.bfloat16
    kind: torch.dtype = getattr(torch, dtype)
    return kind


def _check_files(directory: Path) -> None:
    packed = sorted(path.name for path in directory.glob(f"*{GGUF}"))
    if packed and not any(directory.glob("*.safetensors")):
        raise ModelFormatError(
            f"The language model directory {str(directory)!r} holds GGUF and no safetensors file.",
            f"Name the file: {str(directory / packed[0])!r}.",
        )
    if not (directory / "config.json").is_file():
        raise ModelFormatError(f"The language model directory {str(directory)!r} has no config.json.", _RESTORE)
    if not any(directory.glob("*.safetensors")):
        pickled = any(directory.glob("*.bin"))
        reason = " but weights in a pickle, and loading a pickle can run any code" if pickled else ""
        remedy = (
            "If you trust it, load and save it once with transformers: that writes safetensors."
            if pickled
            else _RESTORE
        )
        raise ModelFormatError(
            f"The language model directory {str(directory)!r} has no safetensors file{reason}.", remedy
        )
    if not any((directory / file).is_file() for file in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise ModelFormatError(f"The language model directory {str(directory)!r} has no tokenizer.", _RESTORE)


@contextmanager
def without_progress_bar() -> Iterator[None]:
    """Hide the progress bars of transformers, of which every load and save on every worker draws one."""
    bars: Any = transformers_logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


class Int8Linear(nn.Module):
    """A linear layer whose weights [outputs, inputs] are int8 times one scale for each output.

    The scale makes the largest weight 127: weight-only, symmetric, per channel, the simplest form, known to cost next
    to nothing in quality.

    Args:
        weight: [outputs, inputs] of the layer to replace.
        bias: [outputs] or None.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        scale = (weight.detach().float().abs().amax(1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
        rounded = (weight.detach().float() / scale[:, None]).round().to(torch.int8).contiguous()
        self.register_buffer("weight", rounded)
        self.register_buffer("scale", scale.to(weight.dtype))
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [..., inputs] to outputs [..., outputs], computed in the inputs' dtype."""
        outputs = linear(inputs, self.weight.to(inputs.dtype)) * self.scale
        return outputs if self.bias is None else outputs + self.bias


def to_int8(model: PreTrainedModel) -> None:
    """Replace the linear layers inside a model, GPT-2's transposed ones too; the model can no longer be trained.

    Embeddings and the output layer, which are often one matrix, and norms stay as they are.
    """
    kept = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if id(layer) in kept or not isinstance(layer, (nn.Linear, Conv1D)):
                continue
            weight = layer.weight.T if isinstance(layer, Conv1D) else layer.weight
            setattr(parent, name, Int8Linear(weight, layer.bias))
