"""What every captioner does alike, whatever its method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.methods import Captioner, ClapIdentity, ProjectionSettings
from sonogloss.methods.labels import LabelBank
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt
from sonogloss.records import Context, FloatArray
from tests.language_models import tiny_language_model

CLAP = ClapIdentity(name="tiny", fingerprint="0" * 64, dim=4)
BANK = LabelBank(labels=("dog", "cat", "rain"), embeddings=np.eye(4, dtype=np.float32)[:3], clap=CLAP.fingerprint)


class Counting(Captioner):
    """Says what it was given, in numbers."""

    method = "counting"

    def caption(
        self, embeddings: FloatArray, contexts: Sequence[Sequence[str]], *, beams: int | None = None
    ) -> list[str]:
        self.check_embeddings(embeddings, len(contexts))
        return [f"{row.sum():g} {'+'.join(texts)}" for row, texts in zip(embeddings, contexts, strict=True)]


def counting(**changes: Any) -> Counting:
    parts: dict[str, Any] = {
        "language_model": tiny_language_model(),
        "prompt": SoftHardPrompt(labels=2),
        "labels": BANK,
        "clap": CLAP,
        "decode": None,
        "fingerprint": "f",
    }
    return Counting(**(parts | changes))


class Store:
    """Two captions; projection doubles."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def search(self, queries: FloatArray, k: int) -> list[list[Context]]:
        self.asked.append(k)
        return [[Context(id=i, text="ab"[i], score=0.5, source="s") for i in range(k)] for _ in queries]

    def project(self, queries: FloatArray, *, temperature: float, renormalise: bool) -> FloatArray:
        assert (temperature, renormalise) == (0.25, False)
        return 2 * queries


def test_raw_embeddings_are_searched_with_and_projected_ones_captioned() -> None:
    ones, store = np.ones((2, 4), np.float32), Store()
    plain = counting()
    assert plain.caption_audio(ones, store) == (["4 ", "4 "], [[], []])
    assert store.asked == []  # nothing to retrieve, nothing to project on
    both = counting(contexts=2, projection=ProjectionSettings(temperature=0.25, renormalise=False))
    captions, found = both.caption_audio(ones, store)
    assert captions == ["8 a+b", "8 a+b"]
    assert [[context.text for context in row] for row in found] == [["a", "b"]] * 2
    with pytest.raises(OptionError, match="CLAP's own"):  # a temperature that nobody has resolved
        counting(projection=ProjectionSettings(temperature="clap")).caption_audio(ones, store)


@given(rows=st.lists(st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4), max_size=5), k=st.integers(0, 3))
def test_keywords_are_the_names_with_their_cosines(rows: list[list[float]], k: int) -> None:
    embeddings = np.array(rows, np.float32).reshape(-1, 4)
    captioner = counting(prompt=SoftHardPrompt(labels=k))
    assert captioner.has_keywords is (k > 0)
    names, keywords = captioner.names(embeddings), captioner.keywords(embeddings)
    assert [[keyword.label for keyword in row] for row in keywords] == names
    for embedding, row, named in zip(embeddings, keywords, names, strict=True):
        order = sorted(range(3), key=lambda i: (-embedding[i], i))[:k]
        assert named == [BANK.labels[i] for i in order]
        length = max(float(np.linalg.norm(embedding.astype(np.float64))), 1e-30)
        assert [keyword.score for keyword in row] == pytest.approx([embedding[i] / length for i in order], abs=1e-5)


def test_a_prompt_that_names_nothing_needs_no_labels() -> None:
    for prompt in (SoftHardPrompt(hard=False), SoftHardPrompt(labels=0)):
        silent = counting(prompt=prompt, labels=None)
        assert not silent.has_keywords
        assert (silent.names(np.zeros((2, 4))), silent.keywords(np.zeros((2, 4)))) == ([[], []], [(), ()])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "names 2 labels, and there are 0"),
        ({"prompt": SoftHardPrompt(labels=4)}, "names 4 labels, and there are 3"),
        ({"clap": ClapIdentity(name="tiny", fingerprint="1" * 64, dim=4)}, "embedded with another CLAP"),
        ({"clap": ClapIdentity(name="tiny", fingerprint="0" * 64, dim=5)}, "embedded with another CLAP"),
    ],
)
def test_labels_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFormatError, match=message):
        counting(**changes)


def test_what_a_method_does_not_write_has_a_default() -> None:
    captioner = counting()
    assert (captioner.beams, captioner.max_prompt_tokens, captioner.contexts) == (None, None, 0)
    assert captioner.read_text_with(object()) is None  # type: ignore[arg-type, func-returns-value]  # it embeds no text
    with pytest.raises(OptionError, match="A counting captioner finds one caption a clip"):
        captioner.candidates(np.ones((1, 4), np.float32), [[]], 2)
    for shape in ((1, 4), (2, 3), (2,)):
        with pytest.raises(OptionError, match=r"expected \(2, 4\).* Embed with the CLAP 'tiny'"):
            captioner.caption(np.ones(shape, np.float32), [[], []])


def test_a_method_that_does_not_caption_is_none() -> None:
    class Mute(Captioner):
        method = "mute"

    with pytest.raises(TypeError, match="abstract"):
        Mute(language_model=None, prompt=SoftHardPrompt(labels=0), clap=CLAP, decode=None, fingerprint="")  # type: ignore[abstract, arg-type]
