"""MiniLM as the text tower: the mean of a sentence's token states (all-MiniLM-L6-v2, Apache-2.0)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import BertModel

from sonogloss.clap.transformers_clap import pad, token_batches
from sonogloss.one_thread import one_thread
from sonogloss.onednn_linear import use_onednn
from sonogloss.records import FloatArray

MAX_TOKENS = 128


class TextTower:
    """Texts to unit rows of MiniLM's own space.

    Args:
        directory: with `config.json`, `model.safetensors` and `tokenizer.json`.
    """

    def __init__(self, directory: Path) -> None:
        load: Any = BertModel.from_pretrained
        self._model = load(directory, add_pooling_layer=False, local_files_only=True, use_safetensors=True).eval()
        use_onednn(self._model)
        self._tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self.width = int(self._model.config.hidden_size)

    def __call__(self, texts: Sequence[str]) -> FloatArray:
        """Unit rows [n, width]; a text's row does not depend on its neighbors."""
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        result = np.empty((len(texts), self.width), np.float32)
        for rows, length in token_batches([len(each) for each in tokens], MAX_TOKENS):
            ids, mask = pad([tokens[row] for row in rows], 0, length)
            with torch.inference_mode(), one_thread():
                states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask[..., None].float()
            means = (states * weights).sum(dim=1) / weights.sum(dim=1)
            result[rows] = torch.nn.functional.normalize(means, dim=-1).numpy()
        return result
