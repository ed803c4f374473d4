"""The two towers of a ClapModel while they learn: which weights move, how batches are embedded, what is saved."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import safetensors
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn import functional

from sonogloss import files
from sonogloss.audio.mel import MelSettings
from sonogloss.clap.backend import clap_directory
from sonogloss.clap.model_directory import read_preprocessor
from sonogloss.clap.transformers_clap import TransformersClap, pad
from sonogloss.clap.weights import stored_dtype
from sonogloss.temporal.config import PostTrainConfig
from sonogloss.training.precision import autocast, choose_precision

# What a ClapModel directory holds beside its weights, and the authors of the sounds its first training heard.
_KEPT = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "ATTRIBUTION.csv",
)

# Part of the names of a Swin transformer's relative position biases.
POSITIONS = "relative_position_bias_table"


class Towers:
    """A CLAP whose last layers, or whose adapters, learn.

    Everything else is frozen, the running statistics of batch norms too: they are no parameters, an adapter does not
    carry them, and sounds of one synthetic collection must not overwrite what the CLAP met in its first training.

    Args:
        name: of the CLAP, as :func:`sonogloss.clap.load_clap` takes it; in the layout of transformers' ClapModel, or
            converted to it on loading.
        config: what learns.
        device: where.

    Attributes:
        clap: the CLAP as it is now: its embeddings follow what is learnt.
        model: its ClapModel.
        precision: what the towers compute in, `float32` or `bfloat16`.
        mel: its preprocessing.

    Raises:
        InputError: there is no such CLAP, or it is incomplete.
    """

    def __init__(self, name: str, config: PostTrainConfig, device: str = "cpu") -> None:
        with clap_directory(name) as base:
            self.clap = TransformersClap.open(base, name=name, device=device)
            self.mel: MelSettings = read_preprocessor(base)
            self._kept = {path.name: path.read_bytes() for path in sorted(base.iterdir()) if path.name in _KEPT}
            self._dtype = stored_dtype(base)
        self.model = self.clap.model
        self.precision = choose_precision(config.precision, device)
        self._adapted: Any = None
        self.model.requires_grad_(False)
        if config.tune == "lora":
            adapter = LoraConfig(
                r=config.lora_rank,
                lora_alpha=config.lora_alpha,
                lora_dropout=config.lora_dropout,
                target_modules=["query", "value"],
                bias="none",
            )
            # This changes the layers of `self.model` itself. Adapters begin with random numbers; peft asks models for a
            # property that transformers has renamed.
            with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
                torch.manual_seed(config.seed)
                warnings.simplefilter("ignore", FutureWarning)
                self._adapted = get_peft_model(self.model, adapter)
        else:
            for module in _last_layers(self.model, config):
                module.requires_grad_(True)
        for module in (self.model.audio_projection, self.model.text_projection):
            module.requires_grad_(True)

    def parameters(self) -> dict[str, nn.Parameter]:
        """What learns, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def train(self) -> None:
        """Training mode, batch norms excepted."""
        self.model.train()
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()

    def eval(self) -> None:
        """As at inference."""
        self.model.eval()

    @property
    def scale(self) -> float:
        """1 / temperature; the CLAP's own, which stays."""
        return 1 / self.clap.temperature

    def embed_audio(self, mels: Tensor) -> Tensor:
        """Decibels [n, 1, frames, mels] to float32 rows [n, d], as the projection leaves them."""
        mels = mels.to(self.model.device)
        if self.model.config.audio_config.enable_fusion:
            mels = mels.expand(-1, 4, -1, -1)
        longer = torch.zeros((len(mels), 1), dtype=torch.bool, device=mels.device)
        with autocast(self.model.device.type, self.precision):
            pooled = self.model.audio_model(input_features=mels, is_longer=longer).pooler_output
            rows: Tensor = self.model.audio_projection(pooled)
        return rows.float()

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Float32 rows [n, d] as the projection leaves them; every distinct text goes through the tower once."""
        distinct = list(dict.fromkeys(texts))
        tokens = self.clap.tokenize(distinct)
        ids, mask = pad(tokens, int(self.model.config.text_config.pad_token_id))
        device = self.model.device
        with autocast(self.model.device.type, self.precision):
            pooled = self.model.text_model(input_ids=ids.to(device), attention_mask=mask.to(device)).pooler_output
            rows: Tensor = self.model.text_projection(pooled)
        position = {text: row for row, text in enumerate(distinct)}
        return rows.float()[[position[text] for text in texts]]

    def save(self, directory: str, card: str) -> None:
        """Write an ordinary ClapModel directory: our weights, the base's own tokenizer and preprocessing, and a card.

        An adapter is merged first: the towers cannot learn on. Weights keep the precision in which the base has them.
        """
        model = self.model if self._adapted is None else self._adapted.merge_and_unload()
        tensors = {
            name: tensor.detach().to("cpu", self._dtype if tensor.is_floating_point() else None).contiguous()
            for name, tensor in model.state_dict().items()
        }
        for name, content in self._kept.items():
            files.write_bytes(files.join(directory, name), content)
        metadata = {"format": "pt"}
        files.write_bytes(files.join(directory, "model.safetensors"), safetensors.torch.save(tensors, metadata))
        files.write_bytes(files.join(directory, "README.md"), card.encode())


def unit(rows: Tensor) -> Tensor:
    """Rows of length 1."""
    return functional.normalize(rows, dim=-1)


def _last_layers(model: Any, config: PostTrainConfig) -> list[nn.Module]:
    """The last layers of both towers, with what stands between them and the projections."""
    audio, text = model.audio_model.audio_encoder, model.text_model
    return [*audio.layers[-config.layers :], audio.norm, *text.encoder.layer[-config.text_layers :], text.pooler]
