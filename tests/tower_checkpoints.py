"""Small random checkpoints of WavCaps, DRCap and MS-CLAP, as their authors save them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, ClapAudioConfig, GPT2Config, PreTrainedTokenizerFast, RobertaConfig

from sonogloss.clap.msclap_checkpoint import msclap_name
from sonogloss.clap.tower_clap import TowerClap
from sonogloss.clap.tower_config import Cnn14Config, TowerConfig
from sonogloss.clap.wavcaps_checkpoint import wavcaps_name
from tests.laion_checkpoints import randomize, write_tokenizer

WORDS = ("a", "dog", "barks", "rain", "falls", "man", "speaks", ".")
KINDS = ("wavcaps", "drcap", "msclap2022", "msclap2023")
_HTSAT = {
    "patch_embeds_hidden_size": 8,
    "hidden_size": 16,
    "depths": [2, 1],
    "num_attention_heads": [2, 4],
    "num_hidden_layers": 2,
}


def write_bert_tokenizer(directory: Path) -> int:
    """Save a small tokenizer of BERT's kind and return its number of entries."""
    vocabulary = {token: n for n, token in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends: Any = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(directory)
    return len(vocabulary)


def write_gpt2_tokenizer(directory: Path) -> int:
    """Save a byte-level tokenizer of GPT-2's kind, whose first entry is "!", and return its number of entries."""
    letters = ["!", *sorted(set(pre_tokenizers.ByteLevel.alphabet()) - {"!"})]
    tokenizer = Tokenizer(models.BPE(vocab={letter: n for n, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(directory)
    return tokenizer.get_vocab_size()


def tower_config(kind: str, vocabulary: int) -> TowerConfig:
    """The configuration of a small checkpoint."""
    encoder = {
        "vocab_size": vocabulary,
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 120,
    }
    text: Any = BertConfig(**encoder)
    if kind == "drcap":
        text = RobertaConfig(**encoder, type_vocab_size=1, layer_norm_eps=1e-5)
    elif kind == "msclap2023":
        text = GPT2Config(
            vocab_size=vocabulary,
            n_embd=128,
            n_layer=2,
            n_head=2,
            n_inner=64,
            n_positions=90,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=None,
        )
    audio: Any = ClapAudioConfig(**_HTSAT)
    if kind == "msclap2022":
        audio = Cnn14Config(channels=(4, 8, 8, 8, 8, 16), hidden_size=24, num_mel_bins=64)
    ours = kind in ("wavcaps", "drcap")
    suffix = " <|endoftext|>" if kind == "msclap2023" else ""
    return TowerConfig(
        text_config=text, audio_config=audio, projection_dim=32, head="relu" if ours else "residual", text_suffix=suffix
    )


def tower_model(config: TowerConfig, seed: int = 0) -> TowerClap:
    """A random model."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TowerClap(config).eval()
        audio: Any = model.audio_model
        randomize(model, audio.bn0 if hasattr(audio, "bn0") else audio.audio_encoder.batch_norm)
        for module in audio.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.data *= 2  # or a small CNN14 would hear the same in all sounds
    return model


def authors_state(model: TowerClap, kind: str) -> dict[str, torch.Tensor]:
    """The weights under their authors' names, with some of what only they have."""
    name_of: Callable[[str], tuple[str, int | None]] = wavcaps_name if kind in ("wavcaps", "drcap") else msclap_name
    state: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        own, third = name_of(name)
        state[own] = tensor if third is None else torch.cat([state.get(own, tensor[:0]), tensor])
    if "temp" in state:
        state["temp"] = torch.exp(-state["temp"])
    return (
        state
        | {
            "wavcaps": {"audio_encoder.audio_enc.head.weight": torch.zeros(7, 7)},
            "drcap": {"audio_encoder.audio_enc.head.weight": torch.zeros(7, 7)},
            "msclap2022": {"caption_encoder.base.pooler.dense.bias": torch.zeros(7)},
            "msclap2023": {"caption_encoder.base.h.0.attn.bias": torch.zeros(1, 1, 9, 9)},
        }[kind]
    )


def write_tower_checkpoint(folder: Path, kind: str) -> tuple[TowerClap, Path, Path]:
    """Write a checkpoint and its tokenizer; the model, the file and the tokenizer's folder."""
    write = {"drcap": write_tokenizer, "msclap2023": write_gpt2_tokenizer}.get(kind, write_bert_tokenizer)
    usual = {"drcap": "roberta-base", "msclap2023": "gpt2"}.get(kind, "bert-base-uncased")
    model = tower_model(tower_config(kind, write(folder / usual)))
    path = folder / f"{kind}.pt"
    torch.save({"model": authors_state(model, kind), "epoch": 3}, path)
    return model, path, folder / usual
