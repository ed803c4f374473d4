"""Fluency errors of captions, for FENSE.

Zhou et al. 2022, "Can Audio Captions Be Evaluated with Image Caption Metrics?", section 3.2.

A checkpoint of FENSE's detector holds a BERT encoder with a linear layer on the state of its first token, and the name
of the encoder on the model hub. Weights come from the checkpoint, read as tensors; the encoder's configuration and
tokenizer from the hub's cache on this machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer

from sonogloss.clap.device import choose_device
from sonogloss.clap.pickle_data import StoredTensor
from sonogloss.clap.torch_file import open_torch_file
from sonogloss.errors import MissingInputError, ModelFormatError
from sonogloss.metrics.metric import ClipTexts
from sonogloss.metrics.sums import Numbers

_BATCH = 64
_MAX_TOKENS = 64
_THRESHOLD = 0.9
_NOT_READ = re.compile(r"[^\w\s]")
_IDS = "encoder.embeddings.position_ids"  # older releases of transformers saved them


@dataclass(frozen=True, kw_only=True)
class FluencyModel:
    """Text to the probability that it has an error.

    Attributes:
        encoder: token states from token ids.
        head: from the first state to a logit a kind of error, the last one of any error at all.
        tokenizer: of the encoder.
    """

    encoder: Any
    head: nn.Linear
    tokenizer: Any

    @torch.inference_mode()
    def probabilities(self, texts: Sequence[str]) -> Tensor:
        """Of an error in each text, [n] in [0, 1]."""
        found = [torch.empty(0)]
        for start in range(0, len(texts), _BATCH):
            read = [_NOT_READ.sub("", text).lower() for text in texts[start : start + _BATCH]]
            tokens = self.tokenizer(
                read, padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt"
            ).to(self.encoder.device)
            logits = self.head(self.encoder(**tokens).last_hidden_state[:, 0])
            found.append(torch.sigmoid(logits[:, -1]).cpu())
        return torch.cat(found)

    def errors(self, clips: Sequence[ClipTexts]) -> Numbers:
        """For each caption 1 where it has an error, else 0, [clips]."""
        found = self.probabilities([clip.caption for clip in clips]) > _THRESHOLD
        return np.asarray(found.numpy(), np.float64)


def load_fluency_model(path: str, *, device: str = "auto") -> FluencyModel:
    """Load a checkpoint of FENSE's detector, such as `echecker_clotho_audiocaps_base.ckpt`.

    Args:
        path: the file, local or a URL.
        device: where it runs.

    Raises:
        MissingInputError: the file, or the encoder in the hub's cache, is not here.
        ModelFormatError: it is another kind of file.
    """
    with open_torch_file(path) as file:
        content = file.content
        if not isinstance(content, dict) or not {"model_type", "num_classes", "state_dict"} <= content.keys():
            raise _wrong(path, "it has no model_type, num_classes and state_dict")
        stored = content["state_dict"]
        tensors = {
            str(name): file.read(tensor)
            for name, tensor in (stored.items() if isinstance(stored, dict) else ())
            if isinstance(tensor, StoredTensor) and name != _IDS
        }
    config, tokenizer = _encoder_files(path, str(content["model_type"]))
    model = nn.ModuleDict(
        {"encoder": AutoModel.from_config(config), "clf": nn.Linear(config.hidden_size, int(content["num_classes"]))}
    )
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise _wrong(path, str(error).splitlines()[-1].strip()) from error
    model = model.to(choose_device(device)).float().eval()
    head = model["clf"]
    assert isinstance(head, nn.Linear)
    return FluencyModel(encoder=model["encoder"], head=head, tokenizer=tokenizer)


def _encoder_files(path: str, name: str) -> tuple[Any, Any]:
    try:
        return (
            AutoConfig.from_pretrained(name, local_files_only=True),
            AutoTokenizer.from_pretrained(name, local_files_only=True),
        )
    except Exception as error:  # transformers, tokenizers and the hub's client each raise their own
        raise MissingInputError(
            f"--fluency-model {path!r} rests on {name!r}, whose configuration and tokenizer are not on this machine.",
            f"Fetch them once: `hf download {name} config.json tokenizer_config.json tokenizer.json vocab.txt`.",
        ) from error


def _wrong(path: str, why: str) -> ModelFormatError:
    return ModelFormatError(
        f"--fluency-model {path!r} is not a checkpoint of FENSE's detector: {why}.", "Name another file."
    )
