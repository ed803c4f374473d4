"""A CLAP in the layout of transformers' ClapModel, with our own front end and batching."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import ClapConfig, ClapModel
from transformers.utils import logging as transformers_logging

from sonogloss.audio.mel import LogMel, MelSettings
from sonogloss.clap.fingerprint import fingerprint
from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.records import FloatArray

_TEXT_BATCH = 256
_AUDIO_BATCH = 16
_RESTORE = "Restore the directory as transformers' ClapModel saved it."


class TransformersClap:
    """transformers' ClapModel as a :class:`sonogloss.clap.Clap`.

    Tokens come straight from `tokenizer.json` and features from :class:`LogMel`: the combined processor of transformers
    lets a saved text length leak into the audio arguments, and its extractor draws at random.
    """

    def __init__(
        self,
        model: ClapModel,
        tokenizer: Tokenizer,
        settings: MelSettings,
        *,
        max_tokens: int,
        name: str,
        fingerprint: str,
    ) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._log_mel = LogMel(settings).to(model.device)
        self._fused = bool(model.config.audio_config.enable_fusion)
        self._pad_id = int(model.config.text_config.pad_token_id)
        # A tokenizer.json remembers the truncation and padding of its last use; ours are set here and nowhere else.
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self.name = name
        self.fingerprint = fingerprint
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
        target = _device(device)
        config = _read_config(directory)
        settings = MelSettings.from_preprocessor(_read_json(directory / "preprocessor_config.json"))
        _check_image(settings, config)
        tokenizer = _read_tokenizer(directory / "tokenizer.json", config)
        model = _read_model(directory, config)
        return cls(
            model.to(target),
            tokenizer,
            settings,
            max_tokens=_max_tokens(directory, config),
            name=name,
            fingerprint=fingerprint(directory, settings),
        )

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        """Unit rows `[n, dim]` for texts; longer ones are cut at the model's last position."""
        if isinstance(texts, str):
            raise TypeError("embed_text takes a sequence of texts, not one string")
        result = np.empty((len(texts), self.dim), dtype=np.float32)
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        # Neighbours of equal length need no padding; the order given is restored on writing.
        order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
        for start in range(0, len(order), _TEXT_BATCH):
            rows = order[start : start + _TEXT_BATCH]
            ids = torch.full((len(rows), len(tokens[rows[-1]])), self._pad_id)
            mask = torch.zeros_like(ids)
            for line, row in enumerate(rows):
                ids[line, : len(tokens[row])] = torch.tensor(tokens[row])
                mask[line, : len(tokens[row])] = 1
            with torch.inference_mode():
                output = self._model.get_text_features(
                    input_ids=ids.to(self._model.device), attention_mask=mask.to(self._model.device)
                )
                result[rows] = _unit(output)
        return result

    def embed_audio(self, waveforms: Sequence[FloatArray]) -> FloatArray:
        """Unit rows `[n, dim]` for mono waveforms `[samples]` at `sample_rate`.

        Raises:
            ValueError: a waveform is empty or longer than `window_s`.
        """
        result = np.empty((len(waveforms), self.dim), dtype=np.float32)
        for start in range(0, len(waveforms), _AUDIO_BATCH):
            batch = waveforms[start : start + _AUDIO_BATCH]
            with torch.inference_mode():
                features = self._log_mel(batch)
                if self._fused:
                    # Four copies stand where a long recording has its overview and three crops; none is marked as long
                    # (the extractor of transformers marks one at random).
                    features = features.expand(-1, 4, -1, -1)
                is_longer = torch.zeros((len(batch), 1), dtype=torch.bool, device=features.device)
                output = self._model.get_audio_features(input_features=features, is_longer=is_longer)
                result[start : start + len(batch)] = _unit(output)
        return result


def _unit(output: Any) -> FloatArray:
    """Unit float32 rows of what `get_*_features` gave: an output object in transformers 5, a tensor before."""
    features = output if isinstance(output, torch.Tensor) else output.pooler_output
    unit: FloatArray = torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
    return unit


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise OptionError(
            f"The device {name!r} is not available here.", "Use 'cpu', or 'cuda' on a machine with one."
        ) from error
    return device


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelFormatError(f"The CLAP directory {str(path.parent)!r} has no {path.name}.", _RESTORE)
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelFormatError(f"{str(path)!r} is not valid JSON ({error}).", _RESTORE) from error
    if not isinstance(values, dict):
        raise ModelFormatError(f"{str(path)!r} does not hold a JSON object.", _RESTORE)
    return values


def _read_config(directory: Path) -> ClapConfig:
    values = _read_json(directory / "config.json")
    if values.get("model_type") != "clap":
        raise ModelFormatError(
            f"{str(directory / 'config.json')!r} describes a {values.get('model_type')!r} model, not a CLAP.",
            "Name the directory of a ClapModel.",
        )
    try:
        return ClapConfig.from_dict(values)
    except Exception as error:  # transformers checks values in several ways, each with its own exception
        raise ModelFormatError(f"{str(directory / 'config.json')!r} cannot be used ({error}).", _RESTORE) from error


def _check_image(settings: MelSettings, config: ClapConfig) -> None:
    """The mel image must fit the audio tower, which stretches anything smaller and fails on anything larger."""
    audio = config.audio_config
    longest = audio.spec_size * (audio.spec_size // audio.num_mel_bins)
    if settings.mel_bins != audio.num_mel_bins or settings.frames > longest:
        raise ModelFormatError(
            f"preprocessor_config.json gives {settings.frames} frames of {settings.mel_bins} mel bins, but config.json's "
            f"audio tower takes at most {longest} frames of {audio.num_mel_bins}.",
            _RESTORE,
        )


def _max_tokens(directory: Path, config: ClapConfig) -> int:
    """Tokens of the longest text: positions start after the padding id, and a tokenizer may set a lower limit."""
    positions = config.text_config.max_position_embeddings - config.text_config.pad_token_id - 1
    path = directory / "tokenizer_config.json"
    limit = _read_json(path).get("model_max_length") if path.is_file() else None
    return int(min(positions, limit)) if isinstance(limit, int | float) and limit > 2 else int(positions)


def _read_tokenizer(path: Path, config: ClapConfig) -> Tokenizer:
    if not path.is_file():
        raise ModelFormatError(f"The CLAP directory {str(path.parent)!r} has no {path.name}.", _RESTORE)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the binding raises bare Exception
        raise ModelFormatError(f"{str(path)!r} is not a tokenizer ({error}).", _RESTORE) from error
    if tokenizer.get_vocab_size() > config.text_config.vocab_size:
        raise ModelFormatError(
            f"{str(path)!r} has {tokenizer.get_vocab_size()} entries, but the text tower knows {config.text_config.vocab_size}.",
            _RESTORE,
        )
    return tokenizer


def _read_model(directory: Path, config: ClapConfig) -> ClapModel:
    weights = directory / "model.safetensors"
    if not weights.is_file():
        if (directory / "pytorch_model.bin").is_file():
            raise ModelFormatError(
                f"The CLAP directory {str(directory)!r} has its weights in pytorch_model.bin only, a pickle that can run "
                "any code on loading.",
                "Load it where you trust it and save it again with safe serialization, so that model.safetensors is there.",
            )
        raise ModelFormatError(f"The CLAP directory {str(directory)!r} has no model.safetensors.", _RESTORE)
    # transformers draws a progress bar on standard error for every load; one per worker says nothing to anybody.
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        model, info = ClapModel.from_pretrained(
            directory,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (SafetensorError, RuntimeError, ValueError, OSError) as error:
        raise ModelFormatError(f"{str(weights)!r} cannot be loaded ({error}).", _RESTORE) from error
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ModelFormatError(f"{str(weights)!r} lacks {len(missing)} weights, {missing[0]!r} for one.", _RESTORE)
    return model
