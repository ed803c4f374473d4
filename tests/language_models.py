"""Tiny random language models and a byte-level tokenizer, for all tests that prompt, decode or train."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from sonogloss.decoding.language_model import LanguageModel

SENTENCES = [
    f"{who} {does} {where}"
    for who in ("a dog", "a cat", "the rain", "an engine", "a bell", "a man")
    for does in ("barks", "meows", "falls", "idles", "rings", "speaks")
    for where in ("nearby", "far away", "in a small room")
]


def tiny_tokenizer(*, bos: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level vocabulary of 320 entries that can spell anything; `bos=False` leaves the BOS and pad tokens out."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    inner.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>"]
    inner.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    names = {"bos_token": "<s>", "pad_token": "<pad>"} if bos else {}
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", **names)


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """The same with a chat template, as instruction-tuned models bring one."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>\n{% endfor %}"
        "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
    )
    return tokenizer


def tiny_gpt2(*, spread: float = 0.3) -> GPT2LMHeadModel:
    """`spread` is the width of the first weights: wide ones make one token clearly the best, narrow ones learn fast."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=320,
        n_positions=256,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        attn_pdrop=0.0,
        initializer_range=spread,
    )
    return GPT2LMHeadModel(config).eval()


def tiny_llama(*, width: int = 32) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def tiny_model(family: str) -> PreTrainedModel:
    """A random model of one of five families: gpt2, opt, llama, mistral, qwen2."""
    if family == "gpt2":
        return tiny_gpt2()
    if family == "llama":
        return tiny_llama()
    torch.manual_seed(0)
    shape = {
        "vocab_size": 320,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 256,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
    }
    if family == "opt":
        still = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
        return OPTForCausalLM(OPTConfig(**shape, **still, ffn_dim=64, word_embed_proj_dim=32, init_std=0.3)).eval()
    shape |= {"num_key_value_heads": 1, "intermediate_size": 64, "initializer_range": 0.3}
    if family == "mistral":
        return MistralForCausalLM(MistralConfig(**shape)).eval()
    return Qwen2ForCausalLM(Qwen2Config(**shape)).eval()


FAMILIES = ("gpt2", "opt", "llama", "mistral", "qwen2")


def tiny_language_model(kind: str = "gpt2", *, bos: bool = True) -> LanguageModel:
    model = tiny_gpt2() if kind == "gpt2" else tiny_llama()
    return LanguageModel(model=model, tokenizer=tiny_tokenizer(bos=bos))
