"""SBERT-sim: how close a caption and its references lie as sentences (Reimers & Gurevych 2019), any model of that kind.

A directory of sentence-transformers says in `modules.json` how token states become one vector. We load those that take
the mean over the tokens, which nearly all for this purpose do, with transformers alone, and refuse the others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils.hub import cached_file

from sonogloss.clap.device import choose_device
from sonogloss.decoding.language_model import without_progress_bar
from sonogloss.errors import MissingInputError, ModelFormatError, OptionError
from sonogloss.hub import hub_hint, hub_id
from sonogloss.metrics.metric import ClipTexts
from sonogloss.metrics.sums import Numbers

_BATCH = 64
_REMEDY = "Name a model of sentence-transformers that takes the mean over tokens, such as paraphrase-TinyBERT-L6-v2."


@dataclass(frozen=True, kw_only=True)
class SentenceModel:
    """Text to vectors of length 1.

    Attributes:
        model: token states from token ids.
        tokenizer: its tokenizer.
        max_tokens: what is longer is cut off.
        lower_case: is text put into lower case first?
    """

    model: Any
    tokenizer: Any
    max_tokens: int
    lower_case: bool = False

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Vectors [n, width] of length 1, float32."""
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        found: list[Tensor] = [torch.empty(0)] * len(texts)
        for start in range(0, len(order), _BATCH):
            numbers = order[start : start + _BATCH]
            vectors = self._embed([texts[number] for number in numbers])
            for number, vector in zip(numbers, vectors.cpu(), strict=True):
                found[number] = vector
        return torch.stack(found)

    def similarities(self, clips: Sequence[ClipTexts]) -> Numbers:
        """For each clip the mean of the caption's cosines with its references, [clips] in [-1, 1]; 0 for no caption."""
        texts = dict.fromkeys(text for clip in clips for text in (clip.caption, *clip.references))
        place = {text: number for number, text in enumerate(texts)}
        vectors = self.embed(list(texts)) if texts else torch.empty(0)
        found = [
            float((vectors[[place[text] for text in clip.references]] @ vectors[place[clip.caption]]).mean())
            if clip.caption.strip()
            else 0.0
            for clip in clips
        ]
        return np.array(found, np.float64)

    def _embed(self, texts: Sequence[str]) -> Tensor:
        cut = [text.strip().lower() if self.lower_case else text.strip() for text in texts]
        tokens = self.tokenizer(cut, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt")
        tokens = tokens.to(self.model.device)
        states = self.model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
        mean = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)
        return torch.nn.functional.normalize(mean, dim=1)


def load_sentence_model(name: str, *, device: str = "auto") -> SentenceModel:
    """Load a model of sentence-transformers.

    Args:
        name: a directory, or `hf:owner/name` on the model hub; tensors only (safetensors).
        device: where it runs.

    Raises:
        MissingInputError: there is no such model.
        ModelFormatError: its files are missing or malformed.
        OptionError: it does not take the mean over tokens.
    """
    if not Path(name).is_dir():
        on_hub = hub_id(name, bare=True)
        if on_hub is None:
            raise MissingInputError(
                f"--sentence-model {name!r} is not a directory.", f"Name a local directory; {hub_hint(name)}."
            )
        name = on_hub
    folder = _check_modules(name)
    settings = _read(name, "sentence_bert_config.json", folder, default={})
    options = {"subfolder": folder, "local_files_only": Path(name).is_dir(), "trust_remote_code": False}
    with without_progress_bar():
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, **options)
            config = AutoConfig.from_pretrained(name, **options)
            model = AutoModel.from_pretrained(name, dtype=torch.float32, use_safetensors=True, **options)
        except Exception as error:  # transformers, tokenizers, safetensors and the hub's client each raise their own
            raise _unusable(name, error) from error
    limits = (settings.get("max_seq_length"), tokenizer.model_max_length, config.max_position_embeddings)
    return SentenceModel(
        model=model.to(choose_device(device)).eval(),
        tokenizer=tokenizer,
        max_tokens=min(int(limit) for limit in limits if limit),
        lower_case=bool(settings.get("do_lower_case")),
    )


def _check_modules(name: str) -> str:
    """The folder of the transformer; everything else has to be what we compute."""
    folder = ""
    for module in _read(name, "modules.json", ""):
        kind = str(module["type"]).rpartition(".")[2]
        if kind == "Transformer":
            folder = module["path"]
        elif kind == "Pooling":
            _check_pooling(name, _read(name, "config.json", module["path"]))
        elif kind != "Normalize":  # vectors have length 1 anyway, for their cosines
            raise OptionError(f"--sentence-model {name!r} has a module {kind}, which we do not compute.", _REMEDY)
    return folder


def _check_pooling(name: str, config: dict[str, Any]) -> None:
    modes = {key.removeprefix("pooling_mode_") for key, value in config.items() if "pooling_mode_" in key and value}
    if "pooling_mode" in config:  # as newer releases write it
        modes |= set(str(config["pooling_mode"]).replace("mean_tokens", "mean").split("+"))
    if modes not in ({"mean_tokens"}, {"mean"}):
        words = ", ".join(sorted(modes)) or "nothing"
        raise OptionError(f"--sentence-model {name!r} pools by {words}, not by the mean over tokens.", _REMEDY)


def _read(name: str, file: str, folder: str, default: Any = None) -> Any:
    """A JSON file of the model; the default where it has none."""
    try:
        path = cached_file(name, file, subfolder=folder, local_files_only=Path(name).is_dir())
        if path is None:
            raise FileNotFoundError(file)
    except (OSError, ValueError) as error:
        if default is not None:
            return default
        if Path(name).is_dir():
            raise ModelFormatError(f"--sentence-model {name!r} has no {Path(folder) / file}.", _REMEDY) from error
        raise _unusable(name, error) from error
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFormatError(f"--sentence-model {name!r}: {file} is not JSON.", "Get it again.") from error


def _unusable(name: str, error: Exception) -> MissingInputError | ModelFormatError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if Path(name).is_dir():
        return ModelFormatError(f"--sentence-model {name!r} cannot be loaded ({reason}).", "Get its files again.")
    return MissingInputError(
        f"--sentence-model {name!r} cannot be loaded from the model hub ({reason}).",
        "Check the name and the network, or name a local directory with safetensors weights.",
    )
