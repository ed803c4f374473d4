"""Frame embeddings: a CLAP's embedding of each moment of a clip.

transformers' audio tower ends in a map [channels, frequency bins, frames] (frames in the order of time, although the
tower works on a folded image), whose mean over both axes goes through the audio projection and becomes the clip's
embedding. A frame's embedding leaves out the mean over time: the mean over frequency goes through the same projection.
So the mean of the frames *before* the projection is exactly the projection's input for the clip; after the projection,
two layers with a ReLU between them, the mean of frames is near the clip but not equal to it.

The pocket CLAP has 16 frames of 0.64 s in its ten seconds, a LAION checkpoint 32 of 0.32 s. Audio-free prompt tuning
(arXiv 2309.08357) uses frames of CNN14, the audio tower of MS-CLAP 2022, each pooled over three neighbors: those are
the frames of such a CLAP here too, 19 in its five seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sonogloss.clap.inputs import checked_waveforms
from sonogloss.clap.protocol import Clap
from sonogloss.clap.shapes import batches
from sonogloss.clap.transformers_clap import as_transformers
from sonogloss.one_thread import one_thread
from sonogloss.records import FloatArray

_BATCH = 16


def embed_frames(clap: Clap, waveforms: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Clips and their frames in one pass of the audio tower.

    Args:
        clap: a CLAP in the layout of transformers' ClapModel.
        waveforms: mono, at the CLAP's rate, each at most its window long; shorter ones are repeated, so the frames
            always cover the whole window.

    Returns:
        Unit rows, float32: clips [n, dim], the same as `embed_audio` gives, and frames [n, frames, dim].

    Raises:
        OptionError: the CLAP is of another backend, or a waveform cannot be used.
    """
    own = as_transformers(clap, "frames")
    waveforms = checked_waveforms(waveforms, own)
    clips, frames, taken = [], [], 0
    for rows in batches(range(len(waveforms)), _BATCH):
        count = rows[-1] + 1 - taken  # without those that fill up the call
        taken += count
        with torch.inference_mode(), one_thread():
            output = own.model.get_audio_features(**own.audio_inputs([waveforms[row] for row in rows]))
            moments = own.model.audio_projection(frame_states(output.last_hidden_state))
            clips.append(torch.nn.functional.normalize(output.pooler_output.float(), dim=-1).cpu().numpy()[:count])
            frames.append(torch.nn.functional.normalize(moments.float(), dim=-1).cpu().numpy()[:count])
    if not clips:
        return np.zeros((0, own.dim), np.float32), np.zeros((0, 0, own.dim), np.float32)
    return np.concatenate(clips), np.concatenate(frames)


def frame_states(last_hidden_state: torch.Tensor) -> torch.Tensor:
    """The last map of the audio tower [n, channels, frequency bins, frames] as [n, frames, channels]."""
    return last_hidden_state.mean(dim=2).transpose(1, 2)
