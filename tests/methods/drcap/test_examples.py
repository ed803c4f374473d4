"""What DRCap learns from, beyond one step: what is left out, what is held out, and which run it belongs to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recipes.caption_arrays import CaptionArrays
from sonogloss.decoding.sequences import AUDIO_SLOT, IGNORED
from sonogloss.errors import OptionError
from sonogloss.methods import ClapIdentity
from sonogloss.methods.drcap.examples import DrcapExamples
from sonogloss.methods.drcap.method import DrcapSettings, own
from sonogloss.methods.drcap.prompt import ComposedPrompt, compose_examples
from sonogloss.methods.plan import TrainingData
from sonogloss.training.neighbours import draw_contexts
from tests.language_models import SENTENCES
from tests.methods.examples_parts import CAPTIONS, COMMON, HELD_OUT, STORE, TOKENIZER, axes, make_examples

PROMPT = ComposedPrompt(template="{prompt}", prompt="describe.", answer=" {answer}")
SETTINGS = DrcapSettings(band=(-0.5, 0.5), redraw=True)


def examples(**changes: Any) -> DrcapExamples:
    return make_examples(
        DrcapExamples, **(COMMON | {"datastore": STORE, "prompt": PROMPT, "settings": SETTINGS} | changes)
    )


def test_a_plan_and_its_data_become_the_same_examples() -> None:
    plan = own(captions=6, clap=ClapIdentity(name="c", fingerprint="", dim=8), parameters=1)
    plan = replace(plan, training=replace(plan.training, batch_size=4, seed=3), settings=SETTINGS, prompt=PROMPT)
    drawn = draw_contexts(CAPTIONS, STORE, count=SETTINGS.sampled, band=SETTINGS.band, seed=3)
    data = TrainingData(
        captions=CAPTIONS, datastore=STORE, tokenizer=TOKENIZER, max_tokens=64, validation=HELD_OUT, neighbours=drawn
    )
    made, by_hand = DrcapExamples(plan, data), examples()
    for step in range(3):
        assert made.at(step).sequences == by_hand.at(step).sequences
        assert np.array_equal(made.at(step).embeddings, by_hand.at(step).embeddings)
    assert made.fingerprint == by_hand.fingerprint


def test_a_run_keeps_its_fingerprint_from_release_to_release() -> None:
    """A checkpoint is resumed by it; this one is of the first release."""
    assert examples().fingerprint == "a00afd1b65bf8650fada32cdf3b0fe86b8637d086cba2f305624ce01fc07b28c"


@pytest.mark.parametrize(
    "change",
    [
        {"settings": replace(SETTINGS, contexts=2)},
        {"prompt": replace(PROMPT, prompt="tell.")},
        {"batch_size": 3},
        {"seed": 4},
        {"validation": None},
        {"datastore": CaptionArrays(SENTENCES[21:31], axes(10, 3))},
        {"captions": CaptionArrays(SENTENCES[:6], axes(6, 1))},
    ],
)
def test_another_run_has_another_fingerprint(change: dict[str, Any]) -> None:
    assert examples(**change).fingerprint != examples().fingerprint


def test_captions_too_long_without_contexts_are_left_out_and_counted() -> None:
    long = "a dog barks " * 12
    captions = CaptionArrays([*SENTENCES[:5], long], axes(6, 0))
    source = examples(captions=captions, max_tokens=40, batch_size=5)
    assert source.left_out == 1
    answers = {TOKENIZER.decode(answer(example)).strip() for example in source.at(0).sequences}
    assert answers == {f"{text}</s>" for text in SENTENCES[:5]}
    assert max(len(example.ids) for step in range(20) for example in source.at(step).sequences) <= 40
    with pytest.raises(OptionError, match="4 positions"):
        examples(max_tokens=4)


def answer(example: Any) -> list[int]:
    return [label for label in example.labels if label != IGNORED]


def test_held_out_captions_come_once_without_noise_and_with_contexts_of_their_own() -> None:
    noisy = replace(SETTINGS, noise_std_max=0.5, context_dropout=1.0)
    batches = examples(settings=noisy, batch_size=2).held_out()
    assert [len(batch.sequences) for batch in batches] == [2, 1]
    contexts = draw_contexts(HELD_OUT, STORE, count=SETTINGS.sampled, band=SETTINGS.band, seed=3)[:, :3]
    shown = [STORE.texts(row[row >= 0]) for row in contexts]
    expected = compose_examples(shown, SENTENCES[40:43], PROMPT, TOKENIZER, max_tokens=64)
    found = {
        tuple(sequence.ids): batch.embeddings[i] for batch in batches for i, sequence in enumerate(batch.sequences)
    }
    assert found.keys() == {tuple(example.ids) for example in expected}
    for example, embedding in zip(expected, axes(3, 1), strict=True):
        assert np.array_equal(found[tuple(example.ids)], embedding)
    assert examples(validation=None).held_out() == []


def test_every_sequence_has_the_slots_of_its_prompt() -> None:
    source = examples(prompt=replace(PROMPT, audio_slots=3))
    assert source.slots == 3
    assert {example.ids.count(AUDIO_SLOT) for example in source.at(0).sequences} == {3}
