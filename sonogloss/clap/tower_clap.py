"""A CLAP of two towers and two heads, for the checkpoints that transformers' ClapModel does not cover.

It offers what the rest of this package uses of a ClapModel, under the same names.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertModel, ClapAudioModel, GPT2Model, RobertaModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from sonogloss.clap.cnn14 import Cnn14
from sonogloss.clap.tower_config import TowerConfig


class TowerClap(nn.Module):
    """Towers of transformers, or CNN14, with heads.

    The text tower's state that counts is the first (BERT, RoBERTa) or, of a GPT-2, that of the closing token.
    """

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        text, audio = config.text_config, config.audio_config
        encoder: Any = {"bert": BertModel, "roberta": RobertaModel}.get(text.model_type)
        self.text_model = encoder(text, add_pooling_layer=False) if encoder else GPT2Model(text)
        self.audio_model = Cnn14(audio) if audio.model_type == "cnn14" else ClapAudioModel(audio)
        head = _ReluHead if config.head == "relu" else _ResidualHead
        self.text_projection = head(text.hidden_size, config.projection_dim)
        self.audio_projection = head(audio.hidden_size, config.projection_dim)
        self.logit_scale_a = nn.Parameter(torch.zeros(()))

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.logit_scale_a.device

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor) -> BaseModelOutputWithPooling:
        """Token ids and their mask [n, length] to embeddings [n, dim], in `pooler_output`; not normalized."""
        states = self.text_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        place: Any = 0
        if self.config.text_config.model_type == "gpt2":
            # As in msclap: the padding's id is that of "!", so a text with exclamation marks ends that much earlier.
            place = input_ids.ne(self.config.text_config.pad_token_id).sum(dim=1) - 1
        chosen = states[torch.arange(len(states), device=states.device), place]
        return BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=self.text_projection(chosen))

    def get_audio_features(self, input_features: Tensor, is_longer: Any = None) -> BaseModelOutputWithPooling:
        """Log-mel images [n, 1, frames, mels] to embeddings [n, dim], in `pooler_output`; not normalized.

        `last_hidden_state` is a map [n, channels, frequency bins, frames], as of ClapModel; CNN14's has one bin.
        """
        output = self.audio_model(input_features=input_features, is_longer=is_longer)
        return BaseModelOutputWithPooling(
            last_hidden_state=output.last_hidden_state, pooler_output=self.audio_projection(output.pooler_output)
        )


class _ReluHead(nn.Module):
    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(width, dim), nn.Linear(dim, dim)

    def forward(self, states: Tensor) -> Tensor:
        return self.linear2(torch.relu(self.linear1(states)))


class _ResidualHead(nn.Module):
    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(width, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.layer_norm = nn.LayerNorm(dim)

    def forward(self, states: Tensor) -> Tensor:
        first = self.linear1(states)
        return self.layer_norm(first + self.linear2(functional.gelu(first)))
