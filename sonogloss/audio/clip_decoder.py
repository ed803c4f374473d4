"""The clips of a recording, decoded in a process of its own: what decoder processes run."""

from __future__ import annotations

from sonogloss.audio.decoder_pool import DecoderPool, shared_pool
from sonogloss.audio.decoder_process import DecoderLimits
from sonogloss.audio.windows import cut_clips


def clip_decoders(limits: DecoderLimits | None = None) -> DecoderPool:
    """The decoder processes of this process."""
    return shared_pool(cut_clips, limits or DecoderLimits())
