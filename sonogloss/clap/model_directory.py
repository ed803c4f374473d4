"""Read the configuration, preprocessing values and tokenizer of a directory in the layout of transformers' ClapModel.

One of a converted checkpoint that ClapModel does not cover differs in `config.json` and in the names of its weights.

People have such directories in several forms: preprocessing values in `preprocessor_config.json`, or in
`processor_config.json` as transformers 5 saves them; a tokenizer as `tokenizer.json`, or as RoBERTa's `vocab.json` and
`merges.txt`. Every error names the file and says what to do.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import ClapConfig

from sonogloss.audio.mel import MelSettings
from sonogloss.clap.tower_config import MODEL_TYPE, TowerConfig
from sonogloss.errors import ModelFormatError

# Configurations are Any here and beyond: transformers types them in part, as unions with dict and None.

RESTORE = "Restore the directory as transformers' ClapModel saved it."
_SAVE_PROCESSOR = "Save the model's processor there with ClapProcessor.save_pretrained."
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # of RoBERTa, which may also have <mask>


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in one of the directory's files.

    Raises:
        ModelFormatError: as all functions here.
    """
    if not path.is_file():
        raise ModelFormatError(f"The CLAP directory {str(path.parent)!r} has no {path.name}.", RESTORE)
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelFormatError(f"{str(path)!r} is not valid JSON ({error}).", RESTORE) from error
    if not isinstance(values, dict):
        raise ModelFormatError(f"{str(path)!r} does not hold a JSON object.", RESTORE)
    return values


def read_config(directory: Path) -> Any:
    """The ClapConfig or :class:`TowerConfig` in `config.json`."""
    values = read_json(directory / "config.json")
    if values.get("model_type") not in ("clap", MODEL_TYPE):
        raise ModelFormatError(
            f"{str(directory / 'config.json')!r} describes a {values.get('model_type')!r} model, not a CLAP.",
            "Name the directory of a ClapModel.",
        )
    try:
        return (TowerConfig if values["model_type"] == MODEL_TYPE else ClapConfig).from_dict(values)
    except Exception as error:  # transformers checks values in several ways, each with its own exception
        raise ModelFormatError(f"{str(directory / 'config.json')!r} cannot be used ({error}).", RESTORE) from error


_TEXT_VALUES = (
    "hidden_act", "hidden_size", "intermediate_size", "layer_norm_eps", "max_position_embeddings",
    "num_attention_heads", "num_hidden_layers", "pad_token_id", "projection_hidden_act", "type_vocab_size",
    "vocab_size",
)  # fmt: skip
_AUDIO_VALUES = (
    "aff_block_r", "depths", "enable_fusion", "enable_patch_fusion", "enable_patch_layer_norm", "flatten_patch_embeds",
    "fusion_type", "hidden_act", "hidden_size", "layer_norm_eps", "mlp_ratio", "num_attention_heads",
    "num_hidden_layers", "num_mel_bins", "patch_embed_input_channels", "patch_embeds_hidden_size", "patch_size",
    "patch_stride", "projection_hidden_act", "qkv_bias", "spec_size", "window_size",
)  # fmt: skip


def config_digest(config: Any) -> str:
    """The sha256 (hex) of the values of a configuration that decide an embedding; names and versions do not count.

    A model's fingerprint does not cover them, and stays so that what was made with it is known.
    """
    values = {
        "projection_dim": config.projection_dim,
        "text": {name: getattr(config.text_config, name, None) for name in _TEXT_VALUES},
        "audio": {name: getattr(config.audio_config, name, None) for name in _AUDIO_VALUES},
    }
    if isinstance(config, TowerConfig):
        values["head"], values["text_suffix"] = config.head, config.text_suffix
        values["towers"] = [config.text_config.model_type, config.audio_config.model_type]
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=list).encode()).hexdigest()


def read_preprocessor(directory: Path) -> MelSettings:
    """The preprocessing values, from `preprocessor_config.json` or else from `processor_config.json`."""
    path = directory / "preprocessor_config.json"
    if path.is_file():
        return MelSettings.from_preprocessor(read_json(path))
    path = directory / "processor_config.json"
    if not path.is_file():
        raise ModelFormatError(
            f"The CLAP directory {str(directory)!r} has neither preprocessor_config.json nor processor_config.json.",
            _SAVE_PROCESSOR,
        )
    values = read_json(path).get("feature_extractor")
    if not isinstance(values, dict):
        raise ModelFormatError(
            f"The CLAP directory {str(directory)!r} has no preprocessor_config.json, and its processor_config.json has "
            "no 'feature_extractor'.",
            _SAVE_PROCESSOR,
        )
    return MelSettings.from_preprocessor(values, file=path.name)


def check_image(settings: MelSettings, config: Any) -> None:
    """The mel image must fit the audio tower, which stretches smaller images and fails on larger ones."""
    audio = config.audio_config
    # CNN14 takes any length.
    longest = audio.spec_size * (audio.spec_size // audio.num_mel_bins) if hasattr(audio, "spec_size") else math.inf
    if settings.mel_bins != audio.num_mel_bins or settings.frames > longest:
        raise ModelFormatError(
            f"The preprocessing values give {settings.frames} frames of {settings.mel_bins} mel bins, but the audio "
            f"tower of config.json takes at most {longest} frames of {audio.num_mel_bins}.",
            RESTORE,
        )


def max_tokens(directory: Path, config: Any) -> int:
    """Tokens of the longest text: positions start after the padding id, and a tokenizer may set a lower limit."""
    positions = config.text_config.max_position_embeddings - config.text_config.pad_token_id - 1
    path = directory / "tokenizer_config.json"
    limit = read_json(path).get("model_max_length") if path.is_file() else None
    return int(min(positions, limit)) if isinstance(limit, int | float) and limit > 2 else int(positions)


def tokenizer_files(directory: Path) -> list[Path]:
    """The files of the tokenizer: `tokenizer.json`, or else `vocab.json` and `merges.txt`."""
    whole = directory / "tokenizer.json"
    if whole.is_file():
        return [whole]
    parts = [directory / "vocab.json", directory / "merges.txt"]
    missing = [path.name for path in parts if not path.is_file()]
    if missing:
        raise ModelFormatError(
            f"The CLAP directory {str(directory)!r} has no tokenizer.json, and no {' and no '.join(missing)}.",
            "Save the model's tokenizer there with save_pretrained.",
        )
    return parts


def read_tokenizer(directory: Path, config: Any) -> Tokenizer:
    """The tokenizer, which must not have more entries than the text tower."""
    paths = tokenizer_files(directory)
    try:
        tokenizer = Tokenizer.from_file(str(paths[0])) if len(paths) == 1 else _roberta_tokenizer(*paths)
    except Exception as error:  # the binding raises bare Exception
        raise ModelFormatError(f"{str(paths[0])!r} is not a tokenizer ({error}).", RESTORE) from error
    entries, known = tokenizer.get_vocab_size(), config.text_config.vocab_size
    if entries > known:
        raise ModelFormatError(f"{str(paths[0])!r} has {entries} entries, but the text tower knows {known}.", RESTORE)
    return tokenizer


def _roberta_tokenizer(vocabulary: Path, merges: Path) -> Tokenizer:
    """RoBERTa's byte-level tokenizer, as transformers builds it from these files."""
    tokenizer = Tokenizer(models.BPE.from_file(str(vocabulary), str(merges)))
    if any(tokenizer.token_to_id(token) is None for token in _SPECIAL):
        raise ValueError(f"it lacks one of RoBERTa's special tokens {', '.join(_SPECIAL)}")
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    known = [token for token in (*_SPECIAL, "<mask>") if tokenizer.token_to_id(token) is not None]
    tokenizer.add_special_tokens(known)
    special: Any = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=special)
    return tokenizer
