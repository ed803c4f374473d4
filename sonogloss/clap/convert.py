"""Convert a published checkpoint to a directory of safetensors, without unpickling.

One of LAION becomes a directory in the layout of transformers' ClapModel; what ClapModel does not cover becomes one of
:class:`~sonogloss.clap.tower_clap.TowerClap`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from transformers import AutoTokenizer

from sonogloss import files
from sonogloss.audio.mel import OWN_KEYS, MelSettings
from sonogloss.clap.checkpoint import Checkpoint
from sonogloss.clap.layouts import read_checkpoint
from sonogloss.clap.torch_file import open_torch_file
from sonogloss.clap.tower_config import TowerConfig
from sonogloss.clap.weights import fingerprint
from sonogloss.errors import OptionError
from sonogloss.hub import HUB, hub_id


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """A summary of a conversion.

    Attributes:
        layout: whose checkpoint it is, one of :data:`sonogloss.clap.layouts.LAYOUTS`.
        audio_tower: its name.
        text_tower: its name.
        fused: whether the model was trained with feature fusion.
        dim: width of the embeddings.
        parameters: number of weights.
        fingerprint: of the directory, see :func:`sonogloss.clap.weights.fingerprint`.
        left_out: numbers of tensors that the model does not need, by module.
    """

    layout: str
    audio_tower: str
    text_tower: str
    fused: bool
    dim: int
    parameters: int
    fingerprint: str
    left_out: dict[str, int]


def convert_checkpoint(path: str, directory: Path, *, tokenizer: str | None = None, layout: str = "auto") -> Conversion:
    """Write `config.json`, `model.safetensors`, `preprocessor_config.json` and the tokenizer's files.

    The same checkpoint and tokenizer give the same bytes.

    Args:
        path: the checkpoint, local or any fsspec URL.
        directory: an existing directory to write to.
        tokenizer: a directory with the tokenizer of the text tower, which no checkpoint holds, or its name on the model
            hub (`roberta-base`, `hf:owner/name`); only that may use the network. None takes the one that it was trained
            with from this machine's cache.
        layout: one of :data:`sonogloss.clap.layouts.LAYOUTS`, or `auto`.

    Raises:
        MissingInputError: there is no such checkpoint.
        ModelFormatError: it is of no layout known here, or incomplete.
        OptionError: it is of another layout than the one named; the tokenizer cannot be loaded, or is another model's.
    """
    with open_torch_file(path) as file:
        checkpoint = read_checkpoint(file, layout)
        _write_tokenizer(tokenizer, directory, checkpoint)
        weights = checkpoint.read_weights(file)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    if isinstance(checkpoint.config, TowerConfig):
        files.write_json(str(directory / "config.json"), checkpoint.config.to_dict())
    else:
        checkpoint.config.architectures = ["ClapModel"]
        checkpoint.config.save_pretrained(directory)
    files.write_json(str(directory / "preprocessor_config.json"), _preprocessor(checkpoint.settings))
    return Conversion(
        layout=checkpoint.layout,
        audio_tower=checkpoint.audio_tower,
        text_tower=checkpoint.text_tower,
        fused=checkpoint.fused,
        dim=int(checkpoint.config.projection_dim),
        parameters=sum(tensor.numel() for tensor in weights.values() if tensor.is_floating_point()),
        fingerprint=fingerprint(directory, checkpoint.settings),
        left_out=checkpoint.left_out(),
    )


def _preprocessor(settings: MelSettings) -> dict[str, Any]:
    """The settings under the names of ClapFeatureExtractor, and those that it ignores where they have a value."""
    own = {name: getattr(settings, name) for name in OWN_KEYS}
    return {
        "feature_extractor_type": "ClapFeatureExtractor",
        "processor_class": "ClapProcessor",
        "sampling_rate": settings.sample_rate,
        "max_length_s": int(settings.window_s),
        "fft_window_size": settings.fft_size,
        "hop_length": settings.hop_length,
        "feature_size": settings.mel_bins,
        "frequency_min": settings.frequency_min,
        "frequency_max": settings.frequency_max,
        "truncation": "fusion" if settings.filters == "htk" else "rand_trunc",
        "padding": settings.padding,
        "padding_value": 0.0,
        "return_attention_mask": False,
        "top_db": None,
        **{name: value for name, value in own.items() if value is not None},
    }


def _write_tokenizer(name: str | None, directory: Path, checkpoint: Checkpoint) -> None:
    tokenizer = _load_tokenizer(name, checkpoint)
    if tokenizer.pad_token is None and checkpoint.pad_token is not None:
        tokenizer.pad_token = checkpoint.pad_token
    text, usual = checkpoint.config.text_config, checkpoint.tokenizers[0]
    if len(tokenizer) != text.vocab_size or tokenizer.pad_token_id != text.pad_token_id:
        raise OptionError(
            f"--tokenizer {name or usual!r} has {len(tokenizer)} entries and pads with {tokenizer.pad_token_id}, but "
            f"the text tower was trained with {text.vocab_size} and {text.pad_token_id}.",
            f"Name the tokenizer that the checkpoint was trained with; published ones use {usual}.",
        )
    # The saved tokenizer must not depend on the lengths of its last use.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.model_max_length = checkpoint.max_tokens
    tokenizer.save_pretrained(directory)
    if not (directory / "tokenizer.json").is_file():
        raise OptionError(f"--tokenizer {name!r} has no tokenizer.json.", "Name one with a fast tokenizer.")


def _load_tokenizer(name: str | None, checkpoint: Checkpoint) -> Any:
    for candidate in checkpoint.tokenizers if name is None else (name,):
        try:
            local = Path(candidate).is_dir()
            place = candidate if name is None or local else hub_id(candidate, bare=True)
            if place is None:
                raise OSError(f"for the model hub write {HUB}owner/name")
            return AutoTokenizer.from_pretrained(place, local_files_only=name is None or local)
        except Exception as error:  # the hub's client, transformers and tokenizers each raise their own
            if name is not None:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise OptionError(
                    f"--tokenizer {name!r} is not a directory with a tokenizer and cannot be loaded from the model hub "
                    f"({reason}).",
                    "Check the name and the network, or name a local directory that holds tokenizer.json.",
                ) from error
    usual = checkpoint.tokenizers[0]
    raise OptionError(
        f"The checkpoint does not hold its tokenizer, and {usual} is not on this machine.",
        "Name a directory that holds it, or download it from the model hub: `sonogloss convert-clap CKPT --tokenizer "
        f"{usual} --output DIR`.",
    )
