"""Tiny random sentence models, laid out as sentence-transformers does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "cat", "barks", "rain", "falls", "on", "the", "roof"]
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]
MEAN = {"word_embedding_dimension": 16, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}


def write_sentence_model(folder: Path) -> None:
    """A model that takes the mean over at most 8 tokens."""
    write_encoder(folder)
    write_json(folder / "modules.json", MODULES)
    write_json(folder / "1_Pooling/config.json", MEAN)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 8, "do_lower_case": False})


def write_encoder(folder: Path, seed: int = 0) -> BertModel:
    """A BERT of two layers, 16 wide, with its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), do_lower_case=True).save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    model = BertModel(config).eval()
    model.save_pretrained(folder)
    return model


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
