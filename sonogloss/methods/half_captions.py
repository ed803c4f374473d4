"""Captioners that embed their own half-finished captions: the CLAP whose text encoder they ask."""

from __future__ import annotations

from collections.abc import Sequence

from sonogloss.clap import Clap, load_clap
from sonogloss.errors import FingerprintMismatchError
from sonogloss.methods.base import ClapIdentity
from sonogloss.records import FloatArray


class HalfCaptions:
    """The text encoder of a captioner's CLAP: what :meth:`read_text_with` was given, else loaded when it is needed."""

    clap: ClapIdentity
    device: str
    _text_encoder: Clap | None = None

    def read_text_with(self, clap: Clap) -> None:
        """Embed half-finished captions with a CLAP that is loaded already.

        Raises:
            FingerprintMismatchError: it is another one than the captioner's.
        """
        if clap.fingerprint != self.clap.fingerprint:
            raise FingerprintMismatchError(
                f"The captioner was made with the CLAP {self.clap.name!r} ({self.clap.fingerprint[:12]}), which is "
                f"another one now ({clap.fingerprint[:12]}).",
                "Name the CLAP it was made with, or make the captioner again.",
            )
        self._text_encoder = clap

    @property
    def text_encoder(self) -> Clap:
        """The CLAP."""
        if self._text_encoder is None:
            HalfCaptions.read_text_with(self, load_clap(self.clap.name, device=self.device))
        assert self._text_encoder is not None
        return self._text_encoder

    def _embed_text(self, texts: Sequence[str]) -> FloatArray:
        return self.text_encoder.embed_text(texts)
