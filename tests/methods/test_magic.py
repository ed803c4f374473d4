"""The magic beam by brute force: every score is computed from whole sequences, without a cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sonogloss.decoding.generate import left_padded
from sonogloss.decoding.language_model import LanguageModel
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import FingerprintMismatchError, OptionError
from sonogloss.methods.base import CaptionerSpec
from sonogloss.methods.guided_text import spell
from sonogloss.methods.magic import MagicBeam
from sonogloss.methods.manifest import LanguageModelReference, Manifest
from sonogloss.methods.registry import MAGIC, get_method
from sonogloss.records import FloatArray
from tests.byte_table import ByteTable
from tests.language_models import tiny_language_model
from tests.methods.soft_hard.test_captioner import CLAP, tiny_captioner, unit

EARS = ByteTable(np.random.default_rng(1).standard_normal((257, 8)).astype(np.float32))
PROMPT = [5, 9, 40, 17]


class Ears(ByteTable):
    name, fingerprint, temperature = CLAP.name, CLAP.fingerprint, 0.07


def beam(model: LanguageModel, **settings: Any) -> MagicBeam:
    decode = DecodeSettings(max_new_tokens=5, stop=(".",), **(dict(MAGIC) | {"magic": 4} | settings))
    return MagicBeam(model, EARS.embed_text, temperature=0.07, settings=decode)


def search(magic: MagicBeam, model: LanguageModel, audio: FloatArray, beams: int) -> list[list[int]]:
    vectors, _ = left_padded(model, [PROMPT], None)
    return magic.search(vectors, audio, beams=beams)


@torch.inference_mode()
def reference(model: LanguageModel, audio: FloatArray, settings: DecodeSettings, beams: int) -> list[list[int]]:
    """The same rule over plain lists."""
    alive: list[tuple[list[int], float, int, bool]] = [([], 0.0, 0, False)]  # ids, sum, length, finished
    heard = audio / np.linalg.norm(audio)
    for _ in range(settings.max_new_tokens):
        offers = []
        for number, (ids, _, _, _) in enumerate(alive):
            logits = model.model(input_ids=torch.tensor([[*PROMPT, *ids]])).logits[0, -1]
            best = logits.log_softmax(-1).topk(settings.magic)
            for log_prob, token in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                whole = torch.tensor([[*PROMPT, *ids, token]])
                states = model.model(input_ids=whole, output_hidden_states=True).hidden_states[-1][0]
                states = torch.nn.functional.normalize(states, dim=-1)
                offers.append((number, [*ids, token], log_prob, float((states[:-1] @ states[-1]).max())))
        rows = EARS.embed_text(spell(model.tokenizer, [ids for _, ids, _, _ in offers]))
        cosines = rows @ heard / np.maximum(np.linalg.norm(rows, axis=1), 1e-30)
        fit = torch.log_softmax(torch.tensor(cosines / 0.07), 0).tolist()
        ranked = []
        for place, ((number, ids, log_prob, alike), fits) in enumerate(zip(offers, fit, strict=True)):
            _, total, length, finished = alive[number]
            if finished and place % settings.magic:
                continue
            score = (1 - settings.magic_alpha) * log_prob - settings.magic_alpha * alike + settings.magic_beta * fits
            total, length = (total, length) if finished else (total + score, length + 1)
            ended = finished or "." in model.tokenizer.decode(ids[-1:]) or ids[-1] == model.eos_id
            ranked.append((total / length, ids, total, length, ended))
        ranked.sort(key=lambda each: -each[0])
        alive = [(ids, total, length, ended) for _, ids, total, length, ended in ranked[:beams]]
        if all(ended for *_, ended in alive):
            break
    return [ids[:length] for ids, _, length, _ in alive]


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 0.2), (0.6, 2.0), (0.0, 0.0)])
def test_it_finds_what_brute_force_finds(alpha: float, beta: float) -> None:
    model = tiny_language_model()
    for seed in range(4):
        magic = beam(model, magic_alpha=alpha, magic_beta=beta)
        audio = 3 * unit(1, seed)[0]
        found = search(magic, model, audio, 3)
        settings = DecodeSettings(max_new_tokens=5, magic=4, magic_alpha=alpha, magic_beta=beta)
        assert found == reference(model, audio, settings, 3)


def test_a_captioner_asks_the_clap_it_was_given_and_only_in_this_search() -> None:
    decode = DecodeSettings(num_beams=2, max_new_tokens=6, scoring="average", stop=(".",))
    plain = tiny_captioner(decode=decode)
    magic = tiny_captioner(
        decode=DecodeSettings(num_beams=2, max_new_tokens=6, stop=(".",), **dict(MAGIC) | {"magic_beta": 9.0})
    )
    magic.read_text_with(Ears(EARS.table))  # type: ignore[arg-type]
    plain.read_text_with(object())  # type: ignore[arg-type]
    assert magic.caption(unit(4), [[]] * 4) != plain.caption(unit(4), [[]] * 4)
    assert magic.caption(unit(4), [[]] * 4)[2:3] == magic.caption(unit(4)[2:3], [[]])
    assert magic.candidates(unit(1), [[]], 2)[0][0] == magic.caption(unit(1), [[]])[0]
    other = Ears(EARS.table)
    other.fingerprint = "another"
    with pytest.raises(FingerprintMismatchError):
        magic.read_text_with(other)  # type: ignore[arg-type]


def test_the_option_sets_the_released_numbers_where_there_are_beams() -> None:
    def manifest(method: str) -> Manifest:
        return Manifest(
            method=method,
            clap=CLAP,
            language_model=LanguageModelReference(path="language_model"),
            prompt=get_method(method).prompt(),
            contexts=0,
            projection=None,
            decode=get_method(method).decode,
            files=(),
        )

    spec = CaptionerSpec(name="some", magic=True)
    decode = get_method("soft-hard").configured(manifest("soft-hard"), spec).decode
    assert (decode.magic, decode.magic_alpha, decode.magic_beta, decode.max_new_tokens) == (25, 0.1, 0.2, 20)
    with pytest.raises(OptionError, match="without beams"):
        get_method("zeraucap").configured(manifest("zeraucap"), spec)
