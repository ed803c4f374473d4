"""A LAION checkpoint in LAION's own package, laion_clap (`laion_clap:CKPT.pt`, with the `laion` extra).

`laion:CKPT.pt` converts the checkpoint instead and gives the same embeddings; this module is there to compare with.
The package has side effects, which are contained here:

* it imports torchvision, which it does not declare and, without fusion, never calls; the real one breaks transformers
  beside a CPU torch. An empty module replaces it during the import;
* importing it and building its model download tokenizers and RoBERTa weights, to be overwritten or never used. Nothing
  is downloaded here: the tower is built from the sizes in the checkpoint, and texts go through our tokenizer;
* it puts its own folder on `sys.path`;
* its loader unpickles objects and requires `position_ids`. Weights are read by :mod:`sonogloss.clap.torch_file`.

With fusion it needs torchaudio, so a fused checkpoint is refused. Its random crop of long clips is never used, because
no clip is longer than its window.
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
import numpy.typing as npt
import torch
import transformers
from tokenizers import Tokenizer
from transformers import RobertaModel

from sonogloss.audio.mel import MelSettings
from sonogloss.clap.checkpoint import Checkpoint
from sonogloss.clap.convert import convert_checkpoint
from sonogloss.clap.inputs import checked_texts, checked_waveforms
from sonogloss.clap.layouts import read_checkpoint
from sonogloss.clap.model_directory import max_tokens, read_tokenizer
from sonogloss.clap.shapes import batches
from sonogloss.clap.torch_file import open_torch_file
from sonogloss.clap.transformers_clap import find_device
from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.one_thread import one_thread
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
            OptionError: laion_clap is not installed or cannot build this model, the device is not available, or the
                tokenizer (roberta-base) is not on this machine.
            MissingInputError: there is no such checkpoint.
            ModelFormatError: it is not a LAION CLAP, or incomplete.
        """
        target = find_device(device)
        with tempfile.TemporaryDirectory(prefix="clap-") as temporary, open_torch_file(path) as file:
            checkpoint = read_checkpoint(file, "laion")
            if checkpoint.fused or checkpoint.amodel is None:
                why = "was trained with fusion, for which laion_clap needs torchaudio"
                why = why if checkpoint.fused else "is of a size that laion_clap does not build"
                raise OptionError(f"The checkpoint {path!r} {why}.", _REMEDY)
            module = build(checkpoint, target)
            # Positions and token types are not in the module's state, and a checkpoint may or may not hold them.
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
            tokenizer = read_tokenizer(Path(temporary), checkpoint.config)
            length = max_tokens(Path(temporary), checkpoint.config)
        tokenizer.enable_truncation(length)
        pad_id = int(checkpoint.config.text_config.pad_token_id)
        tokenizer.enable_padding(length=length, pad_id=pad_id)
        return cls(module, tokenizer, checkpoint.settings, name=name, fingerprint=converted.fingerprint)

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        """See :meth:`Clap.embed_text`; each text is padded or cut to 77 tokens."""
        texts = checked_texts(texts)
        result = np.empty((len(texts), self.dim), dtype=np.float32)
        for rows in batches(range(len(texts)), _BATCH):
            with torch.inference_mode(), one_thread():
                result[rows] = self._module.get_text_embedding([texts[row] for row in rows], tokenizer=self._tokens)
        return result

    def embed_audio(self, waveforms: Sequence[npt.NDArray[Any]], *, sample_rate: int | None = None) -> FloatArray:
        """See :meth:`Clap.embed_audio`."""
        waveforms = checked_waveforms(waveforms, self, sample_rate)
        result = np.empty((len(waveforms), self.dim), dtype=np.float32)
        for rows in batches(range(len(waveforms)), _BATCH):
            with torch.inference_mode(), one_thread():
                result[rows] = self._module.get_audio_embedding_from_data([waveforms[row] for row in rows])
        return result

    def _tokens(self, texts: list[str]) -> dict[str, torch.Tensor]:
        encodings = self._tokenizer.encode_batch(texts)
        return {
            "input_ids": torch.tensor([encoding.ids for encoding in encodings]),
            "attention_mask": torch.tensor([encoding.attention_mask for encoding in encodings]),
        }


def build(checkpoint: Checkpoint, device: torch.device) -> Any:
    """A CLAP_Module of the checkpoint's size, with random weights.

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
def _surroundings(checkpoint: Checkpoint) -> Iterator[None]:
    """The environment in which laion_clap is imported and builds its model."""
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
    """A module that is not installed: whatever is imported from it is an empty class."""

    def __getattr__(self, name: str) -> Any:
        return type(name, (), {})
