"""A checkpoint of WavCaps' retrieval model (ASE): HTSAT, and the first state of BERT or RoBERTa; ReLU heads.

WavCaps (Mei et al., arXiv:2303.17395) published it with BERT; DRCap's authors trained it again with RoBERTa and another
floor of the log-mel image. Names and shapes are those of the code at XinhaoMei/WavCaps `1123eff` and X-LANCE/SLAM-LLM
`b8dbc12`. Neither is a package: tests/clap/test_wavcaps_parity.py runs the code itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from transformers import BertConfig, ClapAudioConfig, RobertaConfig

from sonogloss.audio.mel import MelSettings
from sonogloss.clap.checkpoint import Checkpoint, Sizes, Source, check_filters, rename
from sonogloss.clap.htsat import MODEL_PREFIX, htsat_name, htsat_values
from sonogloss.clap.pickle_data import StoredTensor
from sonogloss.clap.torch_file import TorchFile
from sonogloss.clap.tower_config import TowerConfig

_AUDIO, _TEXT = "audio_encoder.audio_enc.", "text_encoder.text_encoder."
_NAMES = (
    ("text_model.", _TEXT),
    ("audio_projection.linear1.", "audio_proj.0."),
    ("audio_projection.linear2.", "audio_proj.2."),
    ("text_projection.linear1.", "text_proj.0."),
    ("text_projection.linear2.", "text_proj.2."),
    ("logit_scale_a", "temp"),
)


def read_wavcaps(weights: Mapping[str, StoredTensor], file: TorchFile) -> Checkpoint:
    """The model in the weights of a WavCaps or DRCap checkpoint.

    Raises:
        ModelFormatError: it has other towers.
    """
    sizes = Sizes(weights)
    audio = htsat_values(sizes, _AUDIO)
    text = sizes.encoder(_TEXT)
    roberta = text["type_vocab_size"] == 1  # BERT has two types
    settings = MelSettings(
        sample_rate=32_000,
        window_s=10.0,
        fft_size=1024,
        hop_length=320,
        mel_bins=audio["num_mel_bins"],
        frequency_min=50.0,
        frequency_max=14_000.0,
        filters="slaney",
        padding="pad",
        power_floor=1e-6 if roberta else None,
    )
    check_filters(file, weights.get(_AUDIO + "audio_feats_extractor.log_trans.melW"), settings)
    return Checkpoint(
        layout="wavcaps",
        weights=weights,
        config=TowerConfig(
            # RoBERTa's epsilon is that of roberta-base, which is not RobertaConfig's default.
            text_config=RobertaConfig(**text, layer_norm_eps=1e-5) if roberta else BertConfig(**text),
            audio_config=ClapAudioConfig(**audio),
            projection_dim=sizes.shape("audio_proj.2.weight", 2)[0],
            head="relu",
        ),
        settings=settings,
        source=wavcaps_name,
        tokenizers=("roberta-base", "FacebookAI/roberta-base")
        if roberta
        else ("bert-base-uncased", "google-bert/bert-base-uncased"),
        max_tokens=30,
        temperature="temp",
    )


def wavcaps_name(name: str) -> Source:
    """The authors' name of a weight of :class:`~sonogloss.clap.tower_clap.TowerClap`."""
    return htsat_name(name, _AUDIO) if name.startswith(MODEL_PREFIX) else (rename(name, _NAMES), None)
