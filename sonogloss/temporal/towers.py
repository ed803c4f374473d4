"""The towers of a ClapModel in training: trainable weights, embeddings, saving."""

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
from sonogloss.clap.cnn14 import Cnn14
from sonogloss.clap.model_directory import read_preprocessor
from sonogloss.clap.prompted_text import reads_both_ways
from sonogloss.clap.transformers_clap import TransformersClap, pad
from sonogloss.clap.weights import stored_dtype
from sonogloss.temporal.config import PostTrainConfig
from sonogloss.training.precision import autocast, choose_precision

# Files of a ClapModel directory besides its weights, among them the authors of its training sounds.
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

# In the names of a Swin transformer's relative position biases.
POSITIONS = "relative_position_bias_table"


class Towers:
    """A CLAP whose last layers or adapters are trained.

    Everything else is frozen, including the running statistics of batch norms, which a small collection must not
    overwrite.

    Args:
        name: of the CLAP, as :func:`sonogloss.clap.load_clap` takes it; in the layout of transformers' ClapModel, or
            converted to it on loading.
        config: says what is trained.
        device: as torch names it.

    Attributes:
        clap: the CLAP in its current state.
        model: its ClapModel.
        precision: what the towers compute in, `float32` or `bfloat16`.
        mel: its preprocessing.

    Raises:
        InputError: there is no such CLAP, it is incomplete, or its text tower is a GPT-2.
    """

    def __init__(self, name: str, config: PostTrainConfig, device: str = "cpu") -> None:
        with clap_directory(name) as base:
            self.clap = reads_both_ways(TransformersClap.open(base, name=name, device=device))
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
            # This changes `self.model` in place. Adapters begin with random numbers. peft reads a model property that
            # transformers has renamed, which warns.
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
        """The trainable parameters, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def train(self) -> None:
        """Training mode, batch norms excepted."""
        self.model.train()
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()

    def eval(self) -> None:
        """Evaluation mode."""
        self.model.eval()

    @property
    def scale(self) -> float:
        """1 / temperature of the CLAP, which is not trained."""
        return 1 / self.clap.temperature

    def embed_audio(self, mels: Tensor) -> Tensor:
        """Decibels [n, 1, frames, mels] to float32 rows [n, d], not normalized."""
        mels = mels.to(self.model.device)
        if self.model.config.audio_config.enable_fusion:
            mels = mels.expand(-1, 4, -1, -1)
        longer = torch.zeros((len(mels), 1), dtype=torch.bool, device=mels.device)
        with autocast(self.model.device.type, self.precision):
            pooled = self.model.audio_model(input_features=mels, is_longer=longer).pooler_output
            rows: Tensor = self.model.audio_projection(pooled)
        return rows.float()

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Float32 rows [n, d], not normalized; every distinct text is encoded once."""
        distinct = list(dict.fromkeys(texts))
        tokens = self.clap.tokenize(distinct)
        ids, mask = pad(tokens, int(self.model.config.text_config.pad_token_id))
        device = self.model.device
        with autocast(self.model.device.type, self.precision):
            output = self.model.text_model(input_ids=ids.to(device), attention_mask=mask.to(device))
            first = output.last_hidden_state[:, 0]
            rows: Tensor = self.model.text_projection(first if output.pooler_output is None else output.pooler_output)
        position = {text: row for row, text in enumerate(distinct)}
        return rows.float()[[position[text] for text in texts]]

    def save(self, directory: str, card: str) -> None:
        """Write a ClapModel directory: the weights, tokenizer and preprocessing of the base, and a card.

        An adapter is merged, which ends the training. Weights are stored in the dtype of the base.
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
    """The last layers of both towers, and what follows them up to the projections."""
    audio, text = model.audio_model, model.text_model
    if isinstance(audio, Cnn14):
        modules = [*audio.blocks[-config.layers :], audio.fc1]
    else:
        modules = [*audio.audio_encoder.layers[-config.layers :], audio.audio_encoder.norm]
    modules += text.encoder.layer[-config.text_layers :]
    return modules if text.pooler is None else [*modules, text.pooler]
