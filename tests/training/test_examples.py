"""What the methods learn from, step by step, and the loss on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from recipes.caption_arrays import CaptionArrays
from sonogloss.decoding.sequences import AUDIO_SLOT, IGNORED, Example
from sonogloss.errors import OptionError
from sonogloss.methods.drcap.method import DrcapSettings
from sonogloss.methods.drcap.prompt import ComposedPrompt, compose_examples
from sonogloss.methods.mapper import Mapper, TanhMapper, load_mapper
from sonogloss.methods.soft_hard.method import SoftHardSettings
from sonogloss.training.batches import Examples, collate, noisy
from sonogloss.training.objective import answer_losses
from tests.language_models import FAMILIES, SENTENCES, tiny_model

from .conftest import BANK, CAPTIONS, EMBEDDINGS, NAMES, POCKET, SHORT, TOKENIZER, drcap, soft_hard, unit


def answers(examples: Examples) -> list[str]:
    return [
        TOKENIZER.decode([label for label in example.labels if label != IGNORED], skip_special_tokens=True).strip()
        for example in examples.sequences
    ]


def heads(examples: Examples) -> list[str]:
    """What stands before the audio."""
    return [TOKENIZER.decode(example.ids[: example.ids.index(AUDIO_SLOT)]).strip() for example in examples.sequences]


@pytest.mark.parametrize("method", [drcap, soft_hard])
def test_an_epoch_has_every_caption_once_and_a_step_is_a_function_of_its_number(method: Callable[..., Any]) -> None:
    source, again = method(), method()
    steps = [source.at(step) for step in range(4)]
    for epoch in (steps[:2], steps[2:]):
        shown = [text.rstrip(".") for examples in epoch for text in answers(examples)]
        assert sorted(shown) == sorted(CAPTIONS)
    for step in (3, 0, 2):
        assert again.at(step).sequences == steps[step].sequences
        assert np.array_equal(again.at(step).embeddings, steps[step].embeddings)


def test_drcap_shows_a_caption_with_its_own_embedding_and_with_contexts_that_change() -> None:
    source = drcap(settings=DrcapSettings(band=(-0.9, 0.9), redraw=True))
    shown = []
    for step in range(4):
        examples = source.at(step)
        own = [EMBEDDINGS[CAPTIONS.index(text)] for text in answers(examples)]
        assert np.array_equal(examples.embeddings, own)
        shown.append(dict(zip(answers(examples), heads(examples), strict=True)))
    first, second = shown[0] | shown[1], shown[2] | shown[3]
    assert all(first[caption] != second[caption] for caption in CAPTIONS)
    still = drcap(settings=DrcapSettings(band=(-0.9, 0.9)))
    drawn = [dict(zip(answers(e), heads(e), strict=True)) for e in map(still.at, range(4))]
    assert drawn[0] | drawn[1] == drawn[2] | drawn[3]
    texts = set(SENTENCES[:20])
    for caption, head in first.items():
        parts = [part.strip() for part in head.removeprefix("<s>").removesuffix("</s>").split(". ") if part.strip()]
        assert len(parts) == 3
        assert set(parts) <= texts - {caption}


def test_some_examples_are_shown_without_contexts() -> None:
    source = drcap(settings=DrcapSettings(band=(-0.9, 0.9), context_dropout=0.5))
    bare = [head == "<s></s>" for step in range(200) for head in heads(source.at(step))]
    assert 0.4 < np.mean(bare) < 0.6


def test_soft_hard_lends_a_neighbours_embedding_and_names_its_labels() -> None:
    source = soft_hard(settings=SoftHardSettings(neighbours=3, mask=0.0))
    lent: dict[str, set[int]] = {caption: set() for caption in CAPTIONS}
    for step in range(100):
        examples = source.at(step)
        rows = (examples.embeddings @ EMBEDDINGS.T).argmax(axis=1)
        assert np.array_equal(EMBEDDINGS[rows], examples.embeddings)
        named = [", ".join(names) for names in BANK.names(examples.embeddings, 2)]
        assert heads(examples) == [f"There are {names} in this audio." for names in named]
        for text, row in zip(answers(examples), rows, strict=True):
            lent[text.rstrip(".")].add(int(row))
    nearest = np.argsort(-(EMBEDDINGS @ EMBEDDINGS.T), axis=1)[:, :3]
    assert lent == {caption: set(row.tolist()) for caption, row in zip(CAPTIONS, nearest, strict=True)}


def test_labels_are_masked_and_noise_comes_after_they_are_chosen() -> None:
    settings = SoftHardSettings(neighbours=1, mask=0.4, noise_variance=0.02)
    source = soft_hard(settings=settings)
    kept, cosines = [], []
    for step in range(300):
        examples = source.at(step)
        own = np.array([EMBEDDINGS[CAPTIONS.index(text.rstrip("."))] for text in answers(examples)])
        for head, names in zip(heads(examples), BANK.names(own, 2), strict=True):
            shown = head.removeprefix("There are ").removesuffix(" in this audio.")
            left = [name for name in names if name in shown]
            assert shown == (", ".join(left) or "something")
            kept.append(len(left))
        cosines.extend((own * examples.embeddings).sum(axis=1))
    assert np.mean(kept) == pytest.approx(1.2, abs=0.1)
    assert np.mean(cosines) == pytest.approx(1 / np.sqrt(1 + 8 * 0.02), abs=0.02)


def test_each_example_of_a_multilingual_model_has_one_language() -> None:
    targets = {"en": CAPTIONS, "fr": [f"{text} ici" for text in CAPTIONS]}
    source = soft_hard(targets=targets, prompt=replace(NAMES, languages=("en", "fr")))
    spoken = [text for step in range(20) for text in answers(source.at(step))]
    assert {text.endswith("ici.") for text in spoken} == {True, False}
    ids = source.at(0).sequences[0].ids
    given = TOKENIZER.decode([i for i in ids if i >= 0])
    assert "<en>" in given or "<fr>" in given
    assert not any("<" in text for text in spoken)  # the tag is given, never predicted


def test_parts_cannot_be_mixed_up() -> None:
    with pytest.raises(OptionError, match="no captions"):
        drcap(captions=CaptionArrays([], np.empty((0, 8), np.float32)))
    with pytest.raises(OptionError, match="prompt's last token changes"):
        drcap(prompt=replace(POCKET, prompt="describe the audio you hear. ", answer="{answer}"))
    with pytest.raises(OptionError, match="there are none"):
        soft_hard(labels=None)
    with pytest.raises(OptionError, match="same CLAP"):
        soft_hard(labels=replace(BANK, embeddings=unit(5, 1, 9)))
    with pytest.raises(OptionError, match="there are 5"):
        soft_hard(prompt=replace(NAMES, labels=6))
    with pytest.raises(OptionError, match="targets in 'fr'"):
        soft_hard(targets={"fr": CAPTIONS[:3]})
    with pytest.raises(OptionError, match="positions"):
        drcap(max_tokens=3)


def test_the_remaining_cosine_is_what_the_width_of_the_noise_says() -> None:
    vectors = np.tile(np.eye(1, 64, dtype=np.float32), (4000, 1))
    blurred = noisy(vectors, 0.1, np.random.default_rng(0))
    assert np.linalg.norm(blurred, axis=1) == pytest.approx(np.ones(4000), abs=1e-5)
    assert blurred[:, 0].mean() == pytest.approx(1 / np.sqrt(1 + 64 * 0.01), abs=0.01)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_the_models_own(family: str) -> None:
    """Computing logits at the answers only, without a mask, changes nothing."""
    model: Any = tiny_model(family)
    mapper = Mapper(8, 32)
    sequences = compose_examples([["a dog barks"], []], ["rain falls", "a bell rings nearby"], POCKET, TOKENIZER)
    expected = []
    for i, example in enumerate(sequences):
        alone = collate(Examples(sequences=[example], embeddings=EMBEDDINGS[i : i + 1]))
        words = model.get_input_embeddings()(alone.ids)
        vectors = torch.where(alone.slots[..., None], mapper(alone.embeddings), words)
        logits = model(inputs_embeds=vectors).logits[0, :-1]
        losses = torch.nn.functional.cross_entropy(logits, torch.tensor(example.labels[1:]), reduction="none")
        expected.extend(losses[torch.tensor(example.labels[1:]) != IGNORED].tolist())
    batch = collate(Examples(sequences=sequences, embeddings=EMBEDDINGS[:2]))
    assert answer_losses(model, mapper, batch).tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def _golden(shared_data: Path, method: str) -> Path:
    directory = shared_data / "golden" / method
    if not directory.is_dir():
        pytest.skip(f"the golden {method} cases are not beside this repository")
    return directory


def test_the_golden_losses_of_drcap(shared_data: Path) -> None:
    directory = _golden(shared_data, "drcap")
    model = AutoModelForCausalLM.from_pretrained(directory / "llm", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(directory / "llm")
    mapper = load_mapper(str(directory / "mapper.safetensors"))
    batches = json.loads((directory / "train_forward.json").read_text(encoding="utf-8"))["batches"]
    with np.load(directory / "train_forward.npz", allow_pickle=False) as arrays:
        for i, golden in enumerate(batches):
            prompt = ComposedPrompt(layout="captions_first" if golden["rag_first"] else "captions_in_prompt")
            rows = golden["rows"]
            sequences = compose_examples(
                [row["similar_captions"] for row in rows], [row["target"] for row in rows], prompt, tokenizer
            )
            labels = [example.labels for example in sequences]
            padded = [row + [-100] * (arrays[f"b{i}.labels"].shape[1] - len(row)) for row in labels]
            assert padded == arrays[f"b{i}.labels"].tolist()
            examples = Examples(sequences=sequences, embeddings=arrays[f"b{i}.text_embeddings"])
            assert examples.answers == sum(label != -100 for row in labels for label in row)
            loss = answer_losses(model, mapper, collate(examples)).mean()
            assert loss.item() == pytest.approx(golden["loss"], rel=1e-5)


def test_the_golden_losses_of_soft_and_hard_prompts(shared_data: Path) -> None:
    """Ours never pads between hard and soft prompt, so a row's loss is what the released code gives for it alone."""
    directory = _golden(shared_data, "softhard")
    model = AutoModelForCausalLM.from_pretrained(directory / "gpt2", dtype=torch.float32)
    released = safetensors.torch.load_file(directory / "mapper_mlp.safetensors")
    mapper = TanhMapper(32, 48, slots=10)
    mapper.load_state_dict(
        {name.replace("model.0", "linear1").replace("model.2", "linear2"): w for name, w in released.items()}
    )
    with np.load(directory / "train_forward.npz", allow_pickle=False) as arrays:
        hard = [
            row[mask > 0].tolist() for row, mask in zip(arrays["hard_prompt"], arrays["hard_prompt_mask"], strict=True)
        ]
        told = [row[mask > 0].tolist() for row, mask in zip(arrays["tokens"], arrays["mask"][:, 10:], strict=True)]
        sequences = [
            Example(
                ids=[*prompt, *[AUDIO_SLOT] * 10, *caption],
                labels=[*[IGNORED] * (len(prompt) + 10), *caption],
            )
            for prompt, caption in zip(hard, told, strict=True)
        ]
        batch = collate(Examples(sequences=sequences, embeddings=arrays["prefix"][:, 0]))
        # The released loss leaves id 0 out, which is the pad and the exclamation mark; ours learns the latter.
        counted = batch.targets != 0
        alone = arrays["derived_token_loss_each_row_alone"]
        expected = np.concatenate([row[: len(caption)] for row, caption in zip(alone, told, strict=True)])
    losses = answer_losses(model, mapper, batch)
    assert losses[counted].tolist() == pytest.approx(expected[counted.numpy()].tolist(), rel=1e-5, abs=1e-6)


def test_the_golden_noise(shared_data: Path) -> None:
    directory = _golden(shared_data, "softhard")

    class Given:
        """Hands out the numbers that the released code drew."""

        def __init__(self, draws: Any) -> None:
            self._draws = draws

        def standard_normal(self, shape: tuple[int, ...], dtype: Any) -> Any:
            return self._draws.numpy()

    with np.load(directory / "noise.npz", allow_pickle=False) as arrays:
        for variance in (0.001, 0.016):
            torch.manual_seed(77)
            given: Any = Given(torch.randn(arrays["x"].shape))
            blurred = noisy(arrays["x"], variance**0.5, given)
            assert np.abs(blurred - arrays[f"noise_seed77_var{variance}"]).max() < 1e-6
    statistics = json.loads((directory / "noise_statistics.json").read_text(encoding="utf-8"))["statistics"]
    for case in statistics:
        clean = unit(500, 3, case["d"])
        blurred = noisy(clean, case["variance"] ** 0.5, np.random.default_rng(0))
        error = 3 * case["std_cosine"] / np.sqrt(500) + 3 * case["std_cosine"] / np.sqrt(case["draws"])
        assert (clean * blurred).sum(axis=1).mean() == pytest.approx(case["mean_cosine"], abs=error)


def test_short_runs_are_shorter_than_an_epoch_and_batches_than_the_corpus() -> None:
    source = drcap(replace(SHORT, batch_size=64))
    assert len(source.at(0).sequences) == len(CAPTIONS)
