"""The released ZerAuCap: every caption of the golden cases, token by token, and the numbers of its steps."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonogloss.decoding.language_model import LanguageModel, load_language_model
from sonogloss.methods.guided_text import TextMemo, candidate_texts, ending_tokens, finished_text, spell
from sonogloss.methods.zeraucap.guided import GuidedDecoder
from sonogloss.methods.zeraucap.guided_states import LanguageStates
from sonogloss.methods.zeraucap.method import GuidedSettings
from sonogloss.records import FloatArray
from tests.byte_table import ByteTable


@pytest.fixture(scope="module")
def directory(shared_data: Path) -> Path:
    path = shared_data / "golden" / "zeraucap"
    if not path.is_dir():
        pytest.skip("the golden ZerAuCap cases are not beside this repository")
    return path


@pytest.fixture(scope="module")
def golden(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / "cases.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def opt(directory: Path) -> LanguageModel:
    return load_language_model(str(directory / "opt"))


@pytest.fixture(scope="module")
def inputs(directory: Path) -> dict[str, FloatArray]:
    with np.load(directory / "inputs.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def world(inputs: dict[str, FloatArray]) -> ByteTable:
    return ByteTable(inputs["text_table"])


def settings_of(case: dict[str, Any], *, compat: bool, batch_size: int = 64) -> GuidedSettings:
    numbers = case["settings"]
    return GuidedSettings(
        candidates=numbers["k"],
        **{name: numbers[name] for name in ("alpha", "beta", "gamma", "kappa")},
        max_tokens=numbers["decoding_len"],
        compat=compat,
        batch_size=batch_size,
    )


@pytest.mark.parametrize("batch_size", [5, 64])
@pytest.mark.parametrize("compat", [True, False])
def test_every_golden_caption_is_equal_token_by_token(
    golden: dict[str, Any],
    opt: LanguageModel,
    inputs: dict[str, FloatArray],
    world: ByteTable,
    compat: bool,
    batch_size: int,
) -> None:
    seen = 0
    for _, group in groupby(golden["cases"], key=lambda case: json.dumps(case["settings"])):
        cases = list(group)
        decoder = GuidedDecoder(opt, world.embed_text, settings_of(cases[0], compat=compat, batch_size=batch_size))
        ids = decoder.decode(
            [case["input_ids"] for case in cases], inputs["audio_embeds"][[case["clip"] for case in cases]]
        )
        wanted = [case["official" if compat else "derived_end_penalty_fixed"] for case in cases]
        assert ids == [result["generated_ids"] for result in wanted]
        assert [ids[-1] in decoder.endings for ids in ids] == [case["stopped_by_token"] for case in cases]
        lead = golden["prompt_suffix"]
        texts = [finished_text(opt.tokenizer, row).rsplit(lead, 1)[-1] for row in ids]
        assert texts == [result["caption"] for result in wanted]
        seen += len(cases)
    assert seen == len(golden["cases"])


def test_the_numbers_and_texts_of_every_recorded_step(
    directory: Path, golden: dict[str, Any], opt: LanguageModel, inputs: dict[str, FloatArray], world: ByteTable
) -> None:
    cases = {case["id"]: case for case in golden["cases"]}
    all_texts = json.loads((directory / "trace_texts.json").read_text(encoding="utf-8"))
    with np.load(directory / "traces.npz", allow_pickle=False) as arrays:
        for name, steps in all_texts.items():
            case, trace = cases[name], {key: arrays[f"{name}.{key}"] for key in TRACED}
            states = LanguageStates(opt, candidates=case["settings"]["k"], hidden=True, max_bytes=1 << 20)
            state, audio = states.root(case["input_ids"]), inputs["audio_embeds"][case["clip"]]
            for step, texts in enumerate(steps):
                states.read([state])
                assert np.array_equal(state.top_ids, trace["topk_ids"][step])
                np.testing.assert_allclose(state.probabilities, trace["topk_probs"][step], atol=1e-5)
                np.testing.assert_allclose(states.weigh_repetition(state), trace["max_cos_hidden"][step], atol=1e-5)
                assert list(candidate_texts(opt.tokenizer, state.tokens(), state.top_ids.tolist(), limit=77)) == texts
                [rows] = TextMemo(world.embed_text, max_bytes=0).embed([texts])
                powers = np.exp(case["settings"]["kappa"] * rows @ audio / np.linalg.norm(audio))
                np.testing.assert_allclose(powers / powers.sum(), trace["f"][step], atol=1e-5)
                state = state.child(int(state.top_ids[trace["selected_index"][step]]))


TRACED = ("topk_ids", "topk_probs", "f", "max_cos_hidden", "selected_index")


def test_the_tokens_that_end_a_caption(golden: dict[str, Any], opt: LanguageModel) -> None:
    assert ending_tokens(opt.tokenizer) == set(golden["break_tokens"]["ids"])


def test_how_candidates_read(golden: dict[str, Any], opt: LanguageModel) -> None:
    for sample in golden["decode_samples"]:
        assert spell(opt.tokenizer, [sample["ids"]]) == (sample["text"],)


@pytest.mark.parametrize(("folder", "spelled"), [("drcap/llm", ["▁!", "▁?"]), ("softhard/gpt2", ["Ġ!", "Ġ?"])])
def test_the_tokens_that_end_a_caption_in_other_vocabularies(
    shared_data: Path, folder: str, spelled: list[str]
) -> None:
    directory = shared_data / "golden" / folder
    if not directory.is_dir():
        pytest.skip("the golden cases are not beside this repository")
    tokenizer = load_language_model(str(directory)).tokenizer
    ends = {".", *spelled, str(tokenizer.bos_token), str(tokenizer.eos_token)}
    assert {tokenizer.convert_ids_to_tokens(token) for token in ending_tokens(tokenizer)} == ends
