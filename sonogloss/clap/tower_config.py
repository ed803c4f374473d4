"""The configuration of a CLAP that transformers' ClapModel does not cover, and its form in `config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, Self

from transformers import BertConfig, ClapAudioConfig, GPT2Config, RobertaConfig

MODEL_TYPE = "sonogloss-clap"
_TEXT: Mapping[str, Any] = {"bert": BertConfig, "roberta": RobertaConfig, "gpt2": GPT2Config}


@dataclass(frozen=True, kw_only=True)
class Cnn14Config:
    """Sizes of CNN14.

    Attributes:
        channels: of each block.
        hidden_size: of the layer that follows.
        num_mel_bins: of the log-mel image.
    """

    channels: tuple[int, ...]
    hidden_size: int
    num_mel_bins: int
    model_type: ClassVar[str] = "cnn14"
    enable_fusion: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True, eq=False)
class TowerConfig:
    """A text tower, an audio tower and a head on each.

    Attributes:
        text_config: a BertConfig, RobertaConfig or GPT2Config.
        audio_config: a ClapAudioConfig (HTSAT) or a :class:`Cnn14Config`.
        projection_dim: width of the embeddings.
        head: `relu`, two layers with a ReLU between; `residual`, two layers without bias, a GELU between and a norm
            over their sum.
        text_suffix: what every text ends in.
    """

    text_config: Any
    audio_config: Any
    projection_dim: int
    head: Literal["relu", "residual"]
    text_suffix: str = ""

    def to_dict(self) -> dict[str, Any]:
        """What `config.json` holds."""
        audio = self.audio_config
        return {
            "model_type": MODEL_TYPE,
            "text_config": self.text_config.to_diff_dict(),
            "audio_config": {"model_type": audio.model_type, **asdict(audio)}
            if isinstance(audio, Cnn14Config)
            else audio.to_diff_dict(),
            "projection_dim": self.projection_dim,
            "head": self.head,
            "text_suffix": self.text_suffix,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The configuration in `config.json`.

        Raises:
            KeyError: a value is missing, or a tower is unknown.
            ValueError: a value cannot be; transformers has its own errors for those of its towers.
        """
        text, audio = dict(values["text_config"]), dict(values["audio_config"])
        if values["head"] not in ("relu", "residual"):
            raise ValueError(f"the head {values['head']!r} is neither relu nor residual")
        if audio["model_type"] == Cnn14Config.model_type:
            del audio["model_type"]
            audio_config: Any = Cnn14Config(**audio | {"channels": tuple(audio["channels"])})
        else:
            audio_config = ClapAudioConfig(**audio)
        return cls(
            text_config=_TEXT[text["model_type"]](**text),
            audio_config=audio_config,
            projection_dim=int(values["projection_dim"]),
            head=values["head"],
            text_suffix=str(values.get("text_suffix", "")),
        )
