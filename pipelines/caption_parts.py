"""The loaded parts of a caption job, and whether they belong together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Literal

from sonogloss.audio import WindowPolicy
from sonogloss.errors import FingerprintMismatchError, OptionError
from sonogloss.indexes import Datastore
from sonogloss.methods import Captioner, CaptionerSpec, ProjectionSettings
from sonogloss.pipelines.caption_choice import Choice, check_candidates, choose_among
from sonogloss.pipelines.checks import choose_device
from sonogloss.transforms.models import CaptionerReference, ClapReference, DatastoreReference
from sonogloss.transforms.write_rows import CaptionRows

SHORTEST_CONTEXT = 4  # tokens of a retrieved caption, at the very least: what asks for more room is refused


class CaptionJob:
    """The loaded parts of one job and the settings that shape its rows; made by :func:`prepare`."""

    def __init__(
        self,
        *,
        clap: ClapReference,
        captioner: CaptionerReference,
        datastore: DatastoreReference | None,
        contexts: int,
        projection: ProjectionSettings | None,
        policy: WindowPolicy,
        embedding: bool,
        choice: Choice | None = None,
    ) -> None:
        self.clap = clap
        self.captioner = captioner
        self.datastore = datastore
        self.contexts = contexts
        self.projection = projection
        self.policy = policy
        self.embedding = embedding
        self.choice = choice
        self.method = captioner.load().method
        self.sample_rate = clap.load().sample_rate
        self.dim = clap.load().dim

    def store(self) -> Datastore | None:
        """The open datastore, where the job has one."""
        return None if self.datastore is None else self.datastore.load()

    @property
    def other_judge(self) -> ClapReference | None:
        """The CLAP that chooses among captions, where it is not the job's own and has to hear the sound too."""
        if self.choice is None or self.choice.judge == self.clap:
            return None
        return self.choice.judge

    @property
    def rows(self) -> CaptionRows:
        """What a row holds."""
        return CaptionRows(
            method=self.method,
            keywords=self.captioner.load().has_keywords,
            embedding_dim=self.dim if self.embedding else None,
        )

    def fingerprints(self) -> dict[str, str]:
        """Which models and which stores."""
        found = {"clap": self.clap.fingerprint, "captioner": self.captioner.fingerprint}
        if self.datastore is not None:
            found["datastore"] = self.datastore.fingerprint
            if self.datastore.support_fingerprint is not None:
                found["support"] = self.datastore.support_fingerprint
        if self.choice is not None:
            found["rerank"] = self.choice.judge.fingerprint
        return found

    def digest(self) -> str:
        """A digest of everything that shapes a row; part files carry it."""
        shape = {
            **self.fingerprints(),
            "device": self.clap.device.partition(":")[0],
            "precision": self.captioner.spec.precision,
            "contexts": self.contexts,
            "projection": asdict(self.projection) if self.projection else None,
            "candidate_beams": self.choice.beams if self.choice else (),
            "candidates": self.choice.best if self.choice else 0,
            "policy": asdict(self.policy),
            "columns": self.rows.schema.names,
        }
        return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()


def prepare(
    *,
    datastore: str | None,
    captioner: str,
    policy: WindowPolicy,
    support: str | None = None,
    clap: str | None = None,
    contexts: int | None = None,
    projection: bool | None = None,
    temperature: float | Literal["clap"] | None = None,
    renormalise: bool | None = None,
    parity: bool = False,
    beams: int | None = None,
    candidate_beams: Sequence[int] = (),
    candidates: int | None = None,
    rerank: str | None = None,
    language: str | None = None,
    fast: bool = False,
    precision: str | None = None,
    embedding: bool = False,
    device: str = "auto",
) -> CaptionJob:
    """Open the datastore, load the captioner and the CLAP, and check that they belong together.

    The arguments are those of :func:`sonogloss.pipelines.caption_audio.caption`.

    Raises:
        FingerprintMismatchError: they were made with different CLAPs.
        InputError: one of them cannot be used.
    """
    if contexts is not None and contexts < 0:
        raise OptionError(f"--contexts {contexts} is negative.", "Give 0 for none.")
    check_candidates(candidate_beams, candidates, beams)
    device = choose_device(device)
    store = None
    if datastore is not None or support is not None:
        # A support alone is a store that nothing is retrieved from.
        store = DatastoreReference.of(str(datastore or support), support=support if datastore is not None else None)
    decoder = CaptionerReference.of(
        CaptionerSpec(
            name=captioner,
            device=device,
            precision=precision,
            parity=parity,
            beams=beams,
            language=language,
            fast=fast,
        )
    )
    made_with = decoder.load().clap
    model = ClapReference.of(clap or made_with.name, device)
    if store is not None:
        store.load().require_clap(model.name, model.fingerprint)
    if made_with.fingerprint != model.fingerprint:
        raise FingerprintMismatchError(
            f"The captioner {captioner!r} learnt with the CLAP {made_with.name!r} ({made_with.fingerprint[:12]}), but "
            f"--clap {model.name!r} is another one ({model.fingerprint[:12]}).",
            "Use the CLAP the captioner learnt with, or train a captioner with this one.",
        )
    longest = model.load().window_s
    if policy.window_s > longest:
        raise OptionError(
            f"--window {policy.window_s:g} is longer than the {longest:g} s that {model.name!r} hears at once.",
            f"Give {longest:g} or less; longer recordings are cut into several clips.",
        )
    settings = _projection(decoder.load().projection, model.load().temperature, projection, temperature, renormalise)
    wanted = _contexts(decoder, contexts)
    _check_store(decoder, store, wanted, settings, datastore=datastore, chosen=contexts is not None)
    choice = choose_among(
        decoder,
        model,
        policy,
        candidate_beams=candidate_beams,
        candidates=candidates,
        rerank=rerank,
        beams=beams,
    )
    return CaptionJob(
        clap=model,
        captioner=decoder,
        datastore=store,
        contexts=wanted,
        projection=settings,
        policy=policy,
        embedding=embedding,
        choice=choice,
    )


def _projection(
    own: ProjectionSettings | None,
    clap_temperature: float,
    projection: bool | None,
    temperature: float | Literal["clap"] | None,
    renormalise: bool | None,
) -> ProjectionSettings | None:
    """The captioner's own projection with what the user asked for."""
    if not (own is not None if projection is None else projection):
        for option, value in (("--temperature", temperature), ("--renormalise", renormalise)):
            if value is not None:
                raise OptionError(
                    f"{option} is about a projection, and there is none.", f"Add --projection or leave {option} out."
                )
        return None
    settings = own or ProjectionSettings()
    if temperature is not None:
        settings = replace(settings, temperature=temperature)
    if renormalise is not None:
        settings = replace(settings, renormalise=renormalise)
    return settings.resolved(clap_temperature)


def _contexts(decoder: CaptionerReference, contexts: int | None) -> int:
    """How many captions are retrieved for each clip."""
    captioner: Captioner = decoder.load()
    name, longest = decoder.spec.name, captioner.max_prompt_tokens
    if contexts is None:
        return captioner.contexts
    if contexts and not captioner.contexts:
        raise OptionError(
            f"The captioner {name!r} reads no retrieved captions, and --contexts {contexts} asks for some.",
            "Leave --contexts out, or name another captioner.",
        )
    if longest is not None and contexts * SHORTEST_CONTEXT > longest:
        raise OptionError(
            f"--contexts {contexts}: the language model of {name!r} has room for {longest} tokens of prompt, which so "
            "many captions do not fit in.",
            f"It learned with {captioner.contexts}; ask for fewer than {longest // SHORTEST_CONTEXT + 1}.",
        )
    return contexts


def _check_store(
    decoder: CaptionerReference,
    store: DatastoreReference | None,
    contexts: int,
    projection: ProjectionSettings | None,
    *,
    datastore: str | None,
    chosen: bool,
) -> None:
    """Is there what captions are retrieved from and embeddings are projected on?"""
    if contexts and datastore is None:
        raise OptionError(
            f"The captioner {decoder.spec.name!r} reads {contexts} retrieved captions, and no --datastore is named.",
            "Name one; --contexts 0 does without.",
        )
    if store is None:
        if projection is not None:
            raise OptionError(
                f"The captioner {decoder.spec.name!r} projects on a text support, and no --datastore is named.",
                "Name one, or a --support; --no-projection does without.",
            )
        return
    opened = store.load()
    if chosen and contexts > opened.count:
        raise OptionError(
            f"--contexts {contexts}: the datastore {datastore!r} holds {opened.count} captions.", "Ask for fewer."
        )
    if projection is not None and not opened.support.count:
        raise OptionError(
            f"The datastore {datastore!r} has no text support to project on.",
            "Name another one's with --support, or leave the projection out with --no-projection.",
        )
