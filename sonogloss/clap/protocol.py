"""What every CLAP offers, whatever library computes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from sonogloss.records import FloatArray


class Clap(Protocol):
    """A contrastive language-audio model: embeddings of a sound and of its description are close to each other.

    Attributes:
        name: as the user gave it.
        fingerprint: sha256 (hex) of weights, preprocessing values and tokenizer; the same wherever the model is stored.
        dim: width of the embeddings.
        sample_rate: in Hz, of the waveforms it takes.
        window_s: seconds that the audio tower takes at once.
        temperature: of its contrastive training; similarities are divided by it.
    """

    name: str
    fingerprint: str
    dim: int
    sample_rate: int
    window_s: float
    temperature: float

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        """Unit rows `[n, dim]`, float32, in the order given; independent of batch neighbors up to float32 rounding.

        Raises:
            OptionError: `texts` is not a list of strings.
        """

    def embed_audio(self, waveforms: Sequence[npt.NDArray[Any]], *, sample_rate: int | None = None) -> FloatArray:
        """Unit rows `[n, dim]`, float32, for mono waveforms `[samples]`, each at most `window_s` long.

        Args:
            waveforms: float samples in [-1, 1], or int16, int32 or uint8 PCM, which is scaled to that range.
            sample_rate: of the waveforms in Hz, by default the model's own; other rates are resampled.

        Raises:
            OptionError: a waveform has another shape or type, is empty or too long, or holds values that cannot be
                sound; or the rate is unusable. See :mod:`sonogloss.clap.inputs`.
        """


@runtime_checkable
class BatchedText(Protocol):
    """A CLAP that embeds any number of texts in batches of its own choice and gives them one by one."""

    def embed_text_batches(
        self, texts: Sequence[str], *, precision: str = "float32"
    ) -> Iterator[tuple[list[int], FloatArray]]:
        """Rows of `texts`, each once and in any order, with their embeddings: unit rows `[rows, dim]`, float32.

        Args:
            texts: any number.
            precision: `float32`, or `bfloat16` or `float16`, which are faster where there are units for them.

        Raises:
            OptionError: `texts` is not a list of strings.
        """
