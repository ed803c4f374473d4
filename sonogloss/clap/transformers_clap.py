"""A CLAP in the layout of transformers' ClapModel, with our own front end and batching."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from sonogloss.audio.mel import LogMel, MelSettings
from sonogloss.clap.inputs import checked_texts, checked_waveforms
from sonogloss.clap.model_directory import (
    check_image,
    config_digest,
    max_tokens,
    read_config,
    read_preprocessor,
    read_tokenizer,
)
from sonogloss.clap.protocol import Clap
from sonogloss.clap.shapes import FEWEST_ROWS, batches, padded_length
from sonogloss.clap.weights import fingerprint, read_model
from sonogloss.errors import OptionError
from sonogloss.one_thread import one_thread
from sonogloss.onednn_linear import use_onednn
from sonogloss.records import FloatArray

_TEXT_BATCH = 256
_TEXT_TOKENS = 8192  # a batch, padding included: what long texts may take of memory
_AUDIO_BATCH = 16


class TransformersClap:
    """transformers' ClapModel as a :class:`sonogloss.clap.Clap`.

    Tokens come from the tokenizer's own file and features from :class:`LogMel`: the combined processor of transformers
    passes a saved text length on to the audio arguments, and its extractor crops at random.

    On a CPU the same input gives the same bytes, on any number of cores and whatever else is in the call.

    Attributes:
        config_digest: of the values in `config.json` that decide an embedding, which the fingerprint does not cover.
        model: the ClapModel or :class:`~sonogloss.clap.tower_clap.TowerClap`, for frames, words and learned prompts,
            which the protocol does not offer.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        settings: MelSettings,
        *,
        max_tokens: int,
        name: str,
        fingerprint: str,
    ) -> None:
        self.model = model.eval()
        use_onednn(self.model)
        self._tokenizer = tokenizer
        self._log_mel = LogMel(settings).to(model.device)
        self._fused = bool(model.config.audio_config.enable_fusion)
        self._pad_id = int(model.config.text_config.pad_token_id)
        # A tokenizer.json holds the truncation and padding of its last use; ours replace them.
        self._tokenizer.no_padding()
        self._suffix: str = getattr(model.config, "text_suffix", "")
        if not self._suffix:
            self._tokenizer.enable_truncation(max_tokens)
        self._max_tokens = max_tokens
        self.name = name
        self.fingerprint = fingerprint
        self.config_digest = config_digest(model.config)
        self.dim = int(model.config.projection_dim)
        self.sample_rate = settings.sample_rate
        self.window_s = settings.window_s
        self.temperature = math.exp(-float(model.logit_scale_a.detach()))

    @classmethod
    def open(cls, directory: Path, *, name: str, device: str = "cpu") -> Self:
        """Load a model directory.

        Raises:
            ModelFormatError: a file is missing or malformed; it is named.
            OptionError: the device is not there.
        """
        target = find_device(device)
        config = read_config(directory)
        settings = read_preprocessor(directory)
        check_image(settings, config)
        tokenizer = read_tokenizer(directory, config)
        model = read_model(directory, config)
        return cls(
            model.to(target),
            tokenizer,
            settings,
            max_tokens=max_tokens(directory, config),
            name=name,
            fingerprint=fingerprint(directory, settings),
        )

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, special tokens included, cut at the model's last position."""
        last = self._max_tokens - 1
        rows = [each.ids for each in self._tokenizer.encode_batch([text + self._suffix for text in texts])]
        return [row if len(row) <= self._max_tokens else [*row[:last], row[-1]] for row in rows]

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        """See :meth:`Clap.embed_text`; longer texts are cut at the model's last position."""
        texts = checked_texts(texts)
        result = np.empty((len(texts), self.dim), dtype=np.float32)
        for rows, vectors in self.embed_text_batches(texts):
            result[rows] = vectors
        return result

    def embed_text_batches(
        self, texts: Sequence[str], *, precision: str = "float32"
    ) -> Iterator[tuple[list[int], FloatArray]]:
        """See :meth:`sonogloss.clap.protocol.BatchedText.embed_text_batches`."""
        tokens = self.tokenize(checked_texts(texts))
        device = self.model.device
        for rows, length in token_batches([len(each) for each in tokens], self._max_tokens):
            ids, mask = pad([tokens[row] for row in rows], self._pad_id, length)
            with torch.inference_mode(), one_thread(), _autocast(device, precision):
                output = self.model.get_text_features(input_ids=ids.to(device), attention_mask=mask.to(device))
            distinct = list(dict.fromkeys(rows))  # the last one may fill up the batch
            yield distinct, _unit(output)[: len(distinct)]

    def embed_audio(self, waveforms: Sequence[npt.NDArray[Any]], *, sample_rate: int | None = None) -> FloatArray:
        """See :meth:`Clap.embed_audio`."""
        waveforms = checked_waveforms(waveforms, self, sample_rate)
        result = np.empty((len(waveforms), self.dim), dtype=np.float32)
        for rows in batches(range(len(waveforms)), _AUDIO_BATCH):
            with torch.inference_mode(), one_thread():
                output = self.model.get_audio_features(**self.audio_inputs([waveforms[row] for row in rows]))
                result[rows] = _unit(output)
        return result

    def audio_inputs(self, waveforms: Sequence[FloatArray]) -> dict[str, torch.Tensor]:
        """Inputs of the model's audio tower for mono waveforms at its rate, on its device."""
        features = self._log_mel(waveforms)
        if self._fused:
            # Four copies in place of the overview and three crops of a long recording; no clip is marked as long
            # (the extractor of transformers marks one at random).
            features = features.expand(-1, 4, -1, -1)
        is_longer = torch.zeros((len(waveforms), 1), dtype=torch.bool, device=features.device)
        return {"input_features": features, "is_longer": is_longer}


def as_transformers(clap: Clap, what: str) -> TransformersClap:
    """The same CLAP, if it is a :class:`TransformersClap`.

    Args:
        clap: any backend.
        what: what is needed of it, for the message.

    Raises:
        OptionError: it is another backend.
    """
    if not isinstance(clap, TransformersClap):
        raise OptionError(
            f"The CLAP {clap.name!r} does not give {what}.",
            "Use one in the layout of ClapModel; `sonogloss convert-clap` makes one from a published checkpoint.",
        )
    return clap


def token_batches(lengths: Sequence[int], longest: int) -> Iterator[tuple[list[int], int]]:
    """Rows in batches of equal padded length, and that length; see :mod:`sonogloss.clap.shapes`.

    Args:
        lengths: tokens of each text, at least 1.
        longest: that the model takes.
    """
    padded = [padded_length(length, longest) for length in lengths]
    order = sorted(range(len(lengths)), key=padded.__getitem__)
    for length, group in groupby(order, key=padded.__getitem__):
        for rows in batches(list(group), max(FEWEST_ROWS, min(_TEXT_BATCH, _TEXT_TOKENS // length))):
            yield rows, length


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, getattr(torch, precision), enabled=precision != "float32")


def pad(tokens: Sequence[Sequence[int]], pad_id: int, width: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids, padded on the right to a width or to the longest, and their mask."""
    width = width or max(map(len, tokens))
    ids = torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in tokens])
    lengths = torch.tensor([len(row) for row in tokens])
    return ids, (torch.arange(width) < lengths[:, None]).to(ids.dtype)


def _unit(output: Any) -> FloatArray:
    """Unit float32 rows of the output of `get_*_features`."""
    unit: FloatArray = torch.nn.functional.normalize(output.pooler_output.float(), dim=-1).cpu().numpy()
    return unit


def find_device(name: str) -> torch.device:
    """The device of this name.

    Raises:
        OptionError: it is not there.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise OptionError(
            f"The device {name!r} is not available here.", "Use 'cpu', or 'cuda' on a machine with one."
        ) from error
    return device
