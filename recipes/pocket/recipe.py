"""Every number of the pocket pair's training, and the shapes of its models."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapTextConfig,
    GPT2Config,
    PreTrainedTokenizerFast,
)

BOS, PAD, EOS = 0, 1, 2
MAX_TOKENS = 64


@dataclass(frozen=True, kw_only=True)
class PocketRecipe:
    """The recipe of the released pair.

    Seeds: sounds of the training pool are rendered from `pool_seed` up, validation scenes from `validation_seed` up;
    the test scenes of the benchmarks lie elsewhere and are never touched here.
    """

    seed: int = 20
    pool_seed: int = 10_000_000
    validation_seed: int = 1_000_000
    variants: int = 150
    real_variants: int = 8
    real_share: float = 0.6  # how often an event of an ESC-10 class is a real clip, when there are any
    real_boost: float = 0.3  # how often a scene is given an event of an ESC-10 class on top of chance
    silent_share: float = 0.2  # how often a scene has no floor of noise
    clap_steps: int = 1500
    clap_batch: int = 256
    clap_learning_rate: float = 1.2e-3
    clap_warmup: int = 120
    clap_weight_decay: float = 0.05
    order_clips: int = 40  # single sounds a class, of which pairs are made
    order_steps: int = 350
    decoder_captions: int = 60_000
    decoder_datastore: int = 20_000
    decoder_steps: int = 3000
    decoder_batch: int = 64
    decoder_learning_rate: float = 1.5e-3
    decoder_band: tuple[float, float] = (0.90, 0.97)  # text neighbours there are as right as what audio finds
    decoder_noise: float = 0.05  # leaves a cosine of 0.93 on average, which is where projected audio lies
    decoder_context_dropout: float = 0.25
    soft_hard_steps: int = 600
    soft_hard_noise: float = 7.5e-4  # variance; leaves a cosine of 0.916
    plain_steps: int = 1500
    plain_batch: int = 64
    plain_learning_rate: float = 2e-3
    plain_warmup: int = 100


REAL_CLASSES = {
    "dog": "dog",
    "rooster": "rooster",
    "rain": "rain",
    "sea_waves": "sea",
    "crackling_fire": "fire",
    "crying_baby": "baby",
    "sneezing": "sneeze",
    "clock_tick": "clock",
    "helicopter": "helicopter",
    "chainsaw": "chainsaw",
}
"""ESC-10's class names and ours."""


def train_tokenizer(texts: Iterable[str], entries: int = 2000) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer in RoBERTa's layout (`<s>` 0, `<pad>` 1, `</s>` 2), lower-casing, <= `entries`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=entries,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=MAX_TOKENS,
    )


def load_tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    """The tokenizer that :func:`train_tokenizer` made and somebody saved."""
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(directory)
    return tokenizer


def feature_extractor() -> ClapFeatureExtractor:
    """The audio front end: 32 kHz, 64 mel bands of 50..14,000 Hz, a frame every 10 ms, 10 s."""
    return ClapFeatureExtractor(
        feature_size=64,
        sampling_rate=32_000,
        hop_length=320,
        fft_window_size=1024,
        frequency_min=50,
        frequency_max=14_000,
        max_length_s=10,
        truncation="rand_trunc",
        padding="repeatpad",
    )


def clap_config(vocabulary: int) -> ClapConfig:
    """A ClapModel of about 5 million parameters."""
    audio = ClapAudioConfig(
        spec_size=256,
        patch_size=8,
        patch_stride=[8, 8],
        window_size=4,
        num_mel_bins=64,
        patch_embeds_hidden_size=48,
        depths=[1, 1, 2, 1],
        num_attention_heads=[3, 3, 6, 12],
        hidden_size=384,
        enable_fusion=False,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        drop_path_rate=0.0,
        projection_dim=256,
    )
    text = ClapTextConfig(
        vocab_size=vocabulary,
        hidden_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=768,
        max_position_embeddings=MAX_TOKENS + 2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        type_vocab_size=1,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        projection_dim=256,
    )
    return ClapConfig(
        text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=256, logit_scale_init_value=14.0
    )


def decoder_config(vocabulary: int, *, width: int = 256, layers: int = 4) -> GPT2Config:
    """A small GPT-2; of about 4 million parameters unless told otherwise."""
    return GPT2Config(
        vocab_size=vocabulary,
        n_positions=192,
        n_embd=width,
        n_layer=layers,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        activation_function="gelu_pytorch_tanh",  # GPT-2's own, in one kernel
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )


def save_clap(directory: Path, model: ClapModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write what `ClapModel.from_pretrained` needs, weights as float16 safetensors."""
    model.half().save_pretrained(directory, safe_serialization=True)
    model.float()
    tokenizer.save_pretrained(directory)
    feature_extractor().save_pretrained(directory)
