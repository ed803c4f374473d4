"""The loaded parts of a caption job, whether they belong together, and the steps that they take."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from sonogloss.errors import FingerprintMismatchError, OptionError
from sonogloss.methods import CaptionerSpec, ProjectionSettings
from sonogloss.pipelines.config.captioning import CaptionSettings
from sonogloss.pipelines.running.beam_options import beam_options, is_local, leaves_models_to_workers
from sonogloss.pipelines.running.inputs import check_window, device_for, runs_elsewhere, store_paths
from sonogloss.pipelines.running.reranking import Reranking, choose_reranking
from sonogloss.records import CARRIED_SCHEMA, CaptionRow
from sonogloss.transforms.batch_step import BatchStep, Step
from sonogloss.transforms.embed_audio import embed_audio
from sonogloss.transforms.models import CaptionerReference, CaptionerWithClap, ClapReference, DatastoreReference
from sonogloss.transforms.pool_windows import PoolWindows, measure_loudness
from sonogloss.transforms.rerank import EMBED_STAGE, embed_for_reranking, rerank
from sonogloss.transforms.retrieve import retrieve
from sonogloss.transforms.retrieve_partitioned import RetrievePartitioned
from sonogloss.transforms.score import embed_captions, score
from sonogloss.transforms.write_captions import write_captions
from sonogloss.transforms.write_rows import CaptionRows

SHORTEST_CONTEXT = 4  # tokens of a retrieved caption, at the very least: what asks for more room is refused


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionJob:
    """The loaded parts of one job and the settings that shape its rows; made by :func:`prepare`.

    Attributes:
        config: the options.
        clap: embeds the audio.
        captioner: writes the captions.
        datastore: contexts and the text support, where the job has one.
        contexts: retrieved captions a clip.
        projection: how embeddings are projected, with a number for a temperature.
        reranking: how one of several captions a clip is chosen; None for one caption a clip.
    """

    config: CaptionSettings
    clap: ClapReference
    captioner: CaptionerReference
    datastore: DatastoreReference | None
    contexts: int
    projection: ProjectionSettings | None
    reranking: Reranking | None

    @property
    def method(self) -> str:
        """The captioner's method."""
        return self.captioner.outline.method

    @property
    def sample_rate(self) -> int:
        """The CLAP's rate, in Hz."""
        return self.clap.outline.sample_rate

    @property
    def other_reranker(self) -> ClapReference | None:
        """The CLAP that re-ranks, where it is not the job's own and has to embed the audio too."""
        if self.reranking is None or self.reranking.clap == self.clap:
            return None
        return self.reranking.clap

    @property
    def rows(self) -> CaptionRows:
        """What a row holds."""
        return CaptionRows(
            method=self.method,
            keywords=self.captioner.outline.has_keywords,
            embedding_dim=self.clap.outline.dim if self.config.embedding else None,
        )

    def fingerprints(self) -> dict[str, str]:
        """Which models and which datastores."""
        found = {"clap": self.clap.fingerprint, "captioner": self.captioner.fingerprint}
        if self.datastore is not None:
            found["datastore"] = self.datastore.fingerprint
            if self.datastore.support_fingerprint is not None:
                found["support"] = self.datastore.support_fingerprint
        if self.reranking is not None:
            found["rerank"] = self.reranking.clap.fingerprint
        return found

    def digest(self, device: str = "cpu") -> str:
        """A digest of everything that shapes a row; part files carry it.

        Where models run is no part of it: earlier releases noted a device, and their results on a CPU go on under this
        digest, the others under those of :meth:`earlier_digests`.
        """
        shape = {
            **self.fingerprints(),
            "device": device,
            "precision": self.captioner.spec.precision,
            "contexts": self.contexts,
            "projection": asdict(self.projection) if self.projection else None,
            "candidate_beams": self.reranking.beams if self.reranking else (),
            "candidates": self.reranking.candidates if self.reranking else 0,
            "policy": self.config.policy_digest(),
            # What rows carry along came later and is no option: without it, results of before go on.
            "columns": [name for name in self.rows.schema.names if name not in CARRIED_SCHEMA.names],
            **self.config.row_options(),
        }
        return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()

    def earlier_digests(self) -> tuple[str, ...]:
        """Those of results that an earlier release made elsewhere than on a CPU."""
        return self.digest("cuda"), self.digest("auto")

    def record(self) -> dict[str, Any]:
        """What the options became."""
        return {
            "method": self.method,
            "clap": self.clap.name,
            "contexts": self.contexts,
            "projection": asdict(self.projection) if self.projection else None,
            "candidates": self.reranking.candidates if self.reranking else 0,
            "max_windows": self.config.policy.max_windows,
            "device": self.clap.device,
        }

    def steps(self) -> dict[str, Step]:
        """Embed, retrieve, caption, score."""
        found: dict[str, Step] = {}
        if self.config.pool_weights == "loudness":
            found["MeasureLoudness"] = BatchStep(measure_loudness)
        if self.other_reranker is not None:
            found["EmbedForReranking"] = BatchStep(
                embed_for_reranking, stage=EMBED_STAGE, reranker=self.other_reranker, sample_rate=self.sample_rate
            )
        found["EmbedAudio"] = BatchStep(embed_audio, clap=self.clap)
        if self.config.long == "pool":
            found["PoolWindows"] = PoolWindows()
        if self.config.search == "partitioned" and self.datastore is not None:
            found["Retrieve"] = RetrievePartitioned(self.datastore, contexts=self.contexts, projection=self.projection)
        else:
            found["Retrieve"] = BatchStep(
                retrieve, datastore=self.datastore, contexts=self.contexts, projection=self.projection
            )
        captioner = CaptionerWithClap(captioner=self.captioner, clap=self.clap)
        if self.reranking is None:
            found["WriteCaptions"] = BatchStep(write_captions, captioner=captioner)
        else:
            found["WriteCaptions"] = BatchStep(
                write_captions, captioner=captioner, beams=self.reranking.beams, best=self.reranking.candidates
            )
            found["Rerank"] = BatchStep(rerank, reranker=self.reranking.clap)
        if self.config.long == "summary":
            return found | {
                "EmbedCaptions": BatchStep(embed_captions, clap=self.clap),
                "SummarizeWindows": PoolWindows(),
            }
        return found | {"Score": BatchStep(score, clap=self.clap)}

    def preview(self, row: CaptionRow) -> dict[str, Any]:
        """The caption of a row, its score and its keywords."""
        return {
            "caption": row.caption,
            "clap_score": row.clap_score,
            "keywords": [keyword.label for keyword in row.keywords or ()],
        }


def prepare(config: CaptionSettings) -> CaptionJob:
    """Open the datastore, load the captioner and the CLAP, and check that they belong together.

    Raises:
        FingerprintMismatchError: they were made with different CLAPs.
        InputError: one of them cannot be used.
    """
    beam_args = getattr(config, "beam_args", ())
    device = device_for(config.device, beam_args)
    datastore = _datastore(config, device, runs_elsewhere(beam_args))
    options = beam_options(beam_args, workers=getattr(config, "workers", None))
    # A dry run computes here what one worker would.
    look = leaves_models_to_workers(options) and not (getattr(config, "dry_run", False) and is_local(options))
    spec = CaptionerSpec(
        name=str(config.captioner),
        device=device,
        precision=config.precision,
        parity=config.parity,
        beams=config.beams,
        language=config.language,
        fast=config.fast,
        no_repeat_ngram=config.no_repeat_ngram,
        magic=config.magic,
    )
    captioner = CaptionerReference.of(spec, look=look)
    made_with = captioner.outline.clap
    clap = ClapReference.of(str(config.clap or made_with.name), device, look=look)
    if datastore is not None:
        datastore.outline.require_clap(clap.name, clap.fingerprint, clap.config_digest)
    if made_with.fingerprint != clap.fingerprint:
        raise FingerprintMismatchError(
            f"The captioner {config.captioner!r} works with the CLAP {made_with.name!r} "
            f"({made_with.fingerprint[:12]}), and --clap {clap.name!r} is another one ({clap.fingerprint[:12]}). "
            "A captioner fixes its CLAP.",
            "Leave --clap out, or make or train a captioner with this CLAP.",
        )
    check_window(config.policy, clap)
    projection = _projection(config, captioner.outline.projection, clap.outline.temperature)
    contexts = _contexts(captioner, config.contexts)
    _check_datastore(config, captioner, datastore, contexts, projection)
    return CaptionJob(
        config=config,
        clap=clap,
        captioner=captioner,
        datastore=datastore,
        contexts=contexts,
        projection=projection,
        reranking=choose_reranking(config, captioner, clap),
    )


def _datastore(config: CaptionSettings, device: str, look: bool) -> DatastoreReference | None:
    """The datastore; a support alone is one that nothing is retrieved from."""
    support = None if config.support is None else str(config.support)
    if config.datastore is not None:
        found = store_paths(config.datastore)
    elif support is not None:
        found, support = [support], None
    else:
        return None
    return DatastoreReference.of(
        found[0] if len(found) == 1 else found,
        support=support,
        search=config.search,
        check=config.store_check,
        device=device,
        look=look,
    )


def _projection(
    config: CaptionSettings, own: ProjectionSettings | None, clap_temperature: float
) -> ProjectionSettings | None:
    """The captioner's own projection with what the user asked for."""
    if not (own is not None if config.projection is None else config.projection):
        for option, value in (("--temperature", config.temperature), ("--renormalise", config.renormalise)):
            if value is not None:
                raise OptionError(
                    f"{option} belongs to a projection, and there is none.", f"Add --projection or leave {option} out."
                )
        return None
    settings = own or ProjectionSettings()
    if config.temperature is not None:
        settings = replace(settings, temperature=config.temperature)
    if config.renormalise is not None:
        settings = replace(settings, renormalise=config.renormalise)
    return settings.resolved(clap_temperature)


def _contexts(captioner: CaptionerReference, contexts: int | None) -> int:
    """How many captions are retrieved for each clip."""
    loaded = captioner.outline
    if contexts is None:
        return loaded.contexts
    if contexts and not loaded.contexts:
        raise OptionError(
            f"The captioner {captioner.spec.name!r} reads no retrieved captions; --contexts {contexts} asks for some.",
            "Leave --contexts out, or name another captioner.",
        )
    longest = loaded.max_prompt_tokens
    if longest is not None and contexts * SHORTEST_CONTEXT > longest:
        raise OptionError(
            f"--contexts {contexts}: the language model of {captioner.spec.name!r} takes prompts of {longest} tokens, "
            "too few for so many captions.",
            f"It learned with {loaded.contexts}; ask for fewer than {longest // SHORTEST_CONTEXT + 1}.",
        )
    return contexts


def _check_datastore(
    config: CaptionSettings,
    captioner: CaptionerReference,
    datastore: DatastoreReference | None,
    contexts: int,
    projection: ProjectionSettings | None,
) -> None:
    """Is there what captions are retrieved from and embeddings are projected on?"""
    if contexts and config.datastore is None:
        raise OptionError(
            f"The captioner {captioner.spec.name!r} reads {contexts} retrieved captions, and no --datastore is named.",
            "Name one, or give --contexts 0.",
        )
    if datastore is None:
        if projection is not None:
            raise OptionError(
                f"The captioner {captioner.spec.name!r} projects on a text support, and no --datastore is named.",
                "Name one, name a --support, or give --no-projection.",
            )
        return
    opened = datastore.outline
    if config.contexts is not None and contexts > opened.count:
        raise OptionError(
            f"--contexts {contexts}: the datastore {opened.path!r} holds {opened.count} captions.",
            "Ask for fewer.",
        )
    if projection is not None and not opened.support.count:
        raise OptionError(
            f"The datastore {opened.path!r} has no text support to project on.",
            "Name another one's with --support, or leave the projection out with --no-projection.",
        )
