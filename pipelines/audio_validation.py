"""Choosing a checkpoint by real audio: caption recordings with the weights of the moment, and compare with references.

Training itself hears nothing; it is handed a function from weights to a score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import nn

from sonogloss import files
from sonogloss.audio import AudioLimits, WindowPolicy
from sonogloss.clap import Clap
from sonogloss.decoding.language_model import LanguageModel
from sonogloss.errors import FormatError
from sonogloss.indexes import Datastore
from sonogloss.methods import ClapIdentity
from sonogloss.methods.drcap.captioner import DrcapCaptioner
from sonogloss.methods.drcap.prompt import ComposedPrompt
from sonogloss.methods.labels import LabelBank
from sonogloss.methods.soft_hard.captioner import SoftHardCaptioner
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt
from sonogloss.metrics import evaluate
from sonogloss.pipelines.evaluate_captions import read_references
from sonogloss.pipelines.running.inputs import list_audio
from sonogloss.pipelines.train_settings import Plan
from sonogloss.records import Clip
from sonogloss.transforms.read_audio import read_source

_BATCH = 32

Score = Callable[[Any, nn.Module | None], float]


def score_on_audio(
    audio: Sequence[str],
    references: str,
    *,
    clap: Clap,
    reference: ClapIdentity,
    datastore: Datastore,
    tokenizer: Any,
    plan: Plan,
    labels: LabelBank | None,
) -> tuple[Score, int]:
    """CIDEr-D of the captions of the first window of each recording, as a function of language model and mapper.

    Returns:
        The function, and how many recordings could not be read.

    Raises:
        InputError: there are no recordings, or none that has references.
    """
    uris, _ = list_audio(audio)
    key, known = read_references(references, available={"uri"})
    named = {uri: known.get(files.base_name(uri) if key == "file_name" else uri) for uri in uris}
    policy = WindowPolicy(window_s=min(10.0, clap.window_s), max_windows=1)
    clips: list[Clip] = []
    failed = 0
    for uri in (uri for uri in uris if named[uri]):
        for item in read_source(uri, policy=policy, sample_rate=clap.sample_rate, limits=AudioLimits()):
            if isinstance(item, Clip):
                clips.append(item)
            else:
                failed += 1
    if not clips:
        raise FormatError(
            f"None of the recordings of --validation-audio has references in {references!r} and can be read.",
            "Check that both name the same files.",
        )
    truth = {str(number): named[clip.uri] or [] for number, clip in enumerate(clips)}
    parts = [clips[start : start + _BATCH] for start in range(0, len(clips), _BATCH)]
    raw = np.concatenate([clap.embed_audio([clip.samples for clip in part]) for part in parts])
    contexts = [[context.text for context in row] for row in datastore.search(raw, plan.contexts)]
    embeddings = raw
    if plan.projection is not None:
        resolved = plan.projection.resolved(clap.temperature)
        embeddings = datastore.project(raw, temperature=resolved.tau, renormalise=resolved.renormalise)

    def score(model: Any, mapper: Any) -> float:
        plain = model.get_base_model() if hasattr(model, "get_base_model") else model
        parts: dict[str, Any] = {
            "language_model": LanguageModel(model=plain, tokenizer=tokenizer),
            "mapper": mapper,
            "clap": reference,
            "projection": plan.projection,
            "decode": plan.decode,
            "fingerprint": "",
        }
        prompt = plan.preset.prompt
        captioner: DrcapCaptioner | SoftHardCaptioner
        if isinstance(prompt, ComposedPrompt):
            captioner = DrcapCaptioner(**parts, prompt=prompt, contexts=plan.contexts)
        else:
            assert isinstance(prompt, SoftHardPrompt)
            captioner = SoftHardCaptioner(**parts, prompt=prompt, labels=labels)
        said = captioner.caption(embeddings, contexts)
        told = evaluate({str(number): text for number, text in enumerate(said)}, truth, metrics=["cider_d"])
        return told.corpus[0].value

    return score, failed
