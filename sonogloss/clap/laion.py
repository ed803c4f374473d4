"""A LAION checkpoint in LAION's own package, laion_clap, and everything that this package needs of its surroundings.

`laion:CKPT.pt` needs none of this: it converts the checkpoint, and its embeddings are the same. This file is for those
who want to see that, or the original itself (`laion_clap:CKPT.pt`, with the `laion` extra). What is fenced in here:

* it imports torchvision, which it does not declare and, without fusion, never calls; beside a CPU torch the real one
  breaks transformers. An empty stand-in takes its place during the import;
* importing it and building its model fetch tokenizers and RoBERTa weights from the model hub, to be overwritten or
  never used. Neither is fetched: the tower is built from the sizes in the checkpoint, texts go through our tokenizer;
* it puts its own folder on `sys.path`;
* its loader unpickles objects and insists on `position_ids`. Weights are read by :mod:`sonogloss.clap.torch_file`.

With fusion it needs torchaudio, so a fused checkpoint is refused; and its random crop of long clips is never reached,
because no clip is longer than its window here.
"""

from __future__ import annotations

import importlib
import math
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Self
from unittest import mock

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer
from transformers import RobertaModel

from sonogloss.audio.mel import MelSettings
from sonogloss.clap.convert import convert_checkpoint
from sonogloss.clap.laion_checkpoint import LaionCheckpoint, read_checkpoint
from sonogloss.clap.model_directory import max_tokens, read_tokenizer
from sonogloss.clap.torch_file import open_torch_file
from sonogloss.clap.transformers_clap import find_device, one_thread
from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.records import FloatArray

_BATCH = 16
_REMEDY = "Name it `laion:CKPT.pt`, which converts it and needs nothing else."
_TORCHVISION = (
    "torchvision",
    "torchvision.datasets",
    "torchvision.ops",
    "torchvision.ops.misc",
    "torchvision.transforms",
)
_TEXT_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "layer_norm_eps",
)


class LaionClap:
    """laion_clap's CLAP_Module as a :class:`sonogloss.clap.Clap`.

    Its fingerprint is that of the converted checkpoint, so that datastores and captioners made with one serve the
    other; embeddings agree to float32 rounding.
    """

    def __init__(
        self, module: Any, tokenizer: Tokenizer, settings: MelSettings, *, name: str, fingerprint: str
    ) -> None:
        self._module = module.eval()
        self._tokenizer = tokenizer
        self._settings = settings
        self.name = name
        self.fingerprint = fingerprint
        self.dim = int(module.model.joint_embed_shape)
        self.sample_rate = settings.sample_rate
        self.window_s = settings.window_s
        self.temperature = math.exp(-float(module.model.logit_scale_a.detach()))

    @classmethod
    def open(cls, path: str, *, name: str, device: str = "cpu") -> Self:
        """Load a checkpoint, local or from any fsspec URL.

        Raises:
            OptionError: laion_clap is not installed or cannot build this model, the device is not there, or the
                tokenizer (roberta-base) is not on this machine.
            MissingInputError: there is no such checkpoint.
            ModelFormatError: it is no LAION CLAP, or incomplete.
        """
        target = find_device(device)
        with tempfile.TemporaryDirectory(prefix="clap-") as temporary, open_torch_file(path) as file:
            checkpoint = read_checkpoint(file)
            if checkpoint.fused or checkpoint.amodel is None:
                why = "was trained with fusion, for which laion_clap needs torchaudio"
                why = why if checkpoint.fused else "is of a size that laion_clap does not build"
                raise OptionError(f"The checkpoint {path!r} {why}.", _REMEDY)
            module = build(checkpoint, target)
            # Positions and types, which a checkpoint may or may not hold, are not in its own state.
            state = {
                name: file.read(checkpoint.weights[name])
                for name in module.model.state_dict()
                if name in checkpoint.weights
            }
            try:
                module.model.load_state_dict(state)
            except RuntimeError as error:
                raise ModelFormatError(f"laion_clap cannot load {path!r} ({error}).", _REMEDY) from error
            converted = convert_checkpoint(path, Path(temporary))
            tokenizer = read_tokenizer(Path(temporary) / "tokenizer.json", checkpoint.config)
            length = max_tokens(Path(temporary), checkpoint.config)
        tokenizer.enable_truncation(length)
        pad_id = int(checkpoint.config.text_config.pad_token_id)
        tokenizer.enable_padding(length=length, pad_id=pad_id)
        return cls(module, tokenizer, checkpoint.settings, name=name, fingerprint=converted.fingerprint)

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        """Unit rows `[n, dim]` for texts, each padded or cut to 77 tokens."""
        if isinstance(texts, str):
            raise TypeError("embed_text takes a sequence of texts, not one string")
        result = np.empty((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), _BATCH):
            batch = list(texts[start : start + _BATCH])
            with torch.inference_mode(), one_thread():
                result[start : start + len(batch)] = self._module.get_text_embedding(batch, tokenizer=self._tokens)
        return result

    def embed_audio(self, waveforms: Sequence[FloatArray]) -> FloatArray:
        """Unit rows `[n, dim]` for mono waveforms `[samples]` at `sample_rate`.

        Raises:
            ValueError: a waveform is empty or longer than `window_s`.
        """
        size = self._settings.window_samples
        for waveform in waveforms:
            if waveform.ndim != 1 or not 0 < len(waveform) <= size:
                raise ValueError(f"a waveform must hold 1..{size} mono samples, got shape {waveform.shape}")
        result = np.empty((len(waveforms), self.dim), dtype=np.float32)
        for start in range(0, len(waveforms), _BATCH):
            batch = list(waveforms[start : start + _BATCH])
            with torch.inference_mode(), one_thread():
                result[start : start + len(batch)] = self._module.get_audio_embedding_from_data(batch)
        return result

    def _tokens(self, texts: list[str]) -> dict[str, torch.Tensor]:
        encodings = self._tokenizer.encode_batch(texts)
        return {
            "input_ids": torch.tensor([encoding.ids for encoding in encodings]),
            "attention_mask": torch.tensor([encoding.attention_mask for encoding in encodings]),
        }


def build(checkpoint: LaionCheckpoint, device: torch.device) -> Any:
    """A CLAP_Module of the checkpoint's size, its weights still random.

    Raises:
        OptionError: laion_clap is not installed, or something that it needs.
    """
    with _surroundings(checkpoint):
        try:
            package = importlib.import_module("laion_clap")
        except ImportError as error:
            raise OptionError(
                f"laion_clap cannot be imported ({error}).", f"Install it: pip install 'sonogloss[laion]'. {_REMEDY}"
            ) from error
        return package.CLAP_Module(enable_fusion=checkpoint.fused, device=device, amodel=checkpoint.amodel)


@contextmanager
def _surroundings(checkpoint: LaionCheckpoint) -> Iterator[None]:
    """What laion_clap needs while it is imported and builds its model, and only then."""
    sizes = checkpoint.config.text_config.to_dict()
    text = transformers.RobertaConfig(**{name: sizes[name] for name in _TEXT_SIZES})
    search, modules = list(sys.path), {name: sys.modules.get(name) for name in _TORCHVISION}
    with ExitStack() as stack:
        for tokenizer in (transformers.BertTokenizer, transformers.RobertaTokenizer, transformers.BartTokenizer):
            stack.enter_context(mock.patch.object(tokenizer, "from_pretrained", return_value=None))
        stack.enter_context(mock.patch.object(RobertaModel, "from_pretrained", return_value=RobertaModel(text)))
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        sys.modules.update({name: _Absent(name) for name in _TORCHVISION})
        try:
            yield
        finally:
            sys.path[:] = search
            for name, module in modules.items():
                del sys.modules[name]
                if module is not None:
                    sys.modules[name] = module


class _Absent(ModuleType):
    """A module that is not there: whatever is imported from it is an empty class."""

    def __getattr__(self, name: str) -> Any:
        return type(name, (), {})
