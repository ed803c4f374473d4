"""Frames, words and prompted labels of a ClapModel: how they relate to its clips and sentences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sonogloss.clap import Clap, load_clap
from sonogloss.clap.frames import embed_frames, frame_states
from sonogloss.clap.prompted_text import (
    PromptedLabels,
    embed_words,
    positions,
    width,
    word_embeddings,
)
from sonogloss.errors import OptionError
from sonogloss.records import FloatArray

TEXTS = ["a dog barks", "rain", "a man speaks and then a door closes"]


def sounds() -> list[FloatArray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(seconds * 32000).astype(np.float32) * 0.1 for seconds in (10, 1, 3)]


def test_clips_are_those_of_the_protocol_and_frames_lie_on_the_sphere(tiny_clap: Clap) -> None:
    clips, frames = embed_frames(tiny_clap, sounds())
    assert np.array_equal(clips, tiny_clap.embed_audio(sounds()))
    assert frames.shape[0] == 3
    assert frames.shape[2] == tiny_clap.dim
    assert np.allclose(np.linalg.norm(frames, axis=-1), 1, atol=1e-6)
    assert embed_frames(tiny_clap, [])[1].shape == (0, 0, tiny_clap.dim)


def test_the_mean_of_the_frames_is_what_the_clip_is_projected_from(tiny_clap: Clap) -> None:
    """The tower pools over both axes of its last map at once; pooling over frequency first must not change the mean."""
    model = tiny_clap.model  # type: ignore[attr-defined]
    with torch.inference_mode():
        output = model.audio_model(**tiny_clap.audio_inputs(sounds()))  # type: ignore[attr-defined]
        states = frame_states(output.last_hidden_state)
        assert torch.allclose(states.mean(dim=1), output.pooler_output, atol=1e-6)
        projected = torch.nn.functional.normalize(model.audio_projection(states.mean(dim=1)), dim=-1)
    assert np.allclose(projected.numpy(), tiny_clap.embed_audio(sounds()), atol=1e-5)


def test_frames_are_in_the_order_of_time(tiny_clap: Clap) -> None:
    """A click moves the frames around its moment most; the tower's folded image must be unfolded the right way."""
    quiet = np.random.default_rng(1).standard_normal(320000).astype(np.float32) * 1e-3
    before = embed_frames(tiny_clap, [quiet])[1][0]
    moved = []
    for second in range(10):
        loud = quiet.copy()
        loud[second * 32000 : (second + 1) * 32000] *= 300
        change = np.linalg.norm(embed_frames(tiny_clap, [loud])[1][0] - before, axis=1)
        moved.append(int(change.argmax()) / len(before))
    assert np.corrcoef(moved, np.arange(10))[0, 1] > 0.9


def test_sentences_are_those_of_the_protocol_and_words_do_not_see_their_padding(tiny_clap: Clap) -> None:
    sentences, words = embed_words(tiny_clap, TEXTS)
    assert np.allclose(sentences, tiny_clap.embed_text(TEXTS), atol=1e-6)
    for text, found in zip(TEXTS, words, strict=True):
        alone = embed_words(tiny_clap, [text])[1][0]
        assert found.shape == (len(tiny_clap.tokenize([text])[0]) - 1, tiny_clap.dim)  # type: ignore[attr-defined]
        assert np.allclose(found, alone, atol=1e-6)


def test_prompts_that_are_words_give_the_sentence_with_these_words(tiny_clap: Clap) -> None:
    prompts = word_embeddings(tiny_clap, "the sound of")
    labels = PromptedLabels(tiny_clap, ["a dog", "rain"], len(prompts))
    with torch.inference_mode():
        found = labels.encode(prompts).numpy()
    tokens = tiny_clap.tokenize(["the sound of a dog", "the sound of rain"])  # type: ignore[attr-defined]
    apart = tiny_clap.tokenize(["the sound of", " a dog", " rain"])  # type: ignore[attr-defined]
    assert tokens[0] == apart[0][:-1] + apart[1][1:]  # the tokenizer splits the words alike, or the test is void
    assert np.allclose(found, tiny_clap.embed_text(["the sound of a dog", "the sound of rain"]), atol=1e-5)


def test_only_the_prompts_learn(tiny_clap_dir: Path) -> None:
    clap = load_clap(str(tiny_clap_dir))
    prompts = torch.nn.Parameter(0.02 * torch.randn(3, width(clap)))
    labels = PromptedLabels(clap, ["dog", "rain and wind"], 3)
    labels.encode(prompts).sum().backward()
    assert prompts.grad is not None
    assert all(parameter.grad is None for parameter in clap.model.parameters())  # type: ignore[attr-defined]


def test_what_does_not_fit_is_refused_in_words(tiny_clap: Clap, encode: Callable[..., bytes]) -> None:
    room = positions(tiny_clap)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="room for"):
        PromptedLabels(tiny_clap, ["dog"], room)
    with pytest.raises(OptionError, match="no labels"):
        PromptedLabels(tiny_clap, [], 2)
    with pytest.raises(OptionError, match="no words"):
        word_embeddings(tiny_clap, "")

    class Other:
        name = "other"

    with pytest.raises(OptionError, match="does not give frames"):
        embed_frames(Other(), sounds())  # type: ignore[arg-type]
