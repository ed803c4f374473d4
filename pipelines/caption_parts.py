"""The loaded parts of a caption job, and whether they belong together."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from pipelines.checks import choose_device
from sonogloss.audio import WindowPolicy
from sonogloss.captioners import ProjectionSettings
from sonogloss.errors import FingerprintMismatchError, OptionError
from transforms.models import CaptionerReference, ClapReference, DatastoreReference


class CaptionJob:
    """The loaded parts of one job and the settings that shape its rows; made by :func:`prepare`."""

    def __init__(
        self,
        *,
        clap: ClapReference,
        captioner: CaptionerReference,
        datastore: DatastoreReference,
        contexts: int,
        projection: ProjectionSettings | None,
        policy: WindowPolicy,
        embedding: bool,
    ) -> None:
        self.clap = clap
        self.captioner = captioner
        self.datastore = datastore
        self.contexts = contexts
        self.projection = projection
        self.policy = policy
        self.embedding = embedding
        self.method = captioner.load().method
        self.sample_rate = clap.load().sample_rate
        self.dim = clap.load().dim

    def fingerprints(self) -> dict[str, str]:
        """Which models and which store."""
        return {
            "clap": self.clap.fingerprint,
            "captioner": self.captioner.fingerprint,
            "datastore": self.datastore.fingerprint,
        }

    def digest(self) -> str:
        """A digest of everything that shapes a row; part files carry it."""
        shape = {
            **self.fingerprints(),
            "device": self.clap.device.partition(":")[0],
            "contexts": self.contexts,
            "projection": asdict(self.projection) if self.projection else None,
            "beams": self.captioner.beams,
            "policy": asdict(self.policy),
            "embedding": self.embedding,
        }
        return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()


def prepare(
    *,
    datastore: str,
    captioner: str,
    clap: str | None,
    contexts: int | None,
    policy: WindowPolicy,
    embedding: bool,
    projection: bool,
    beams: int | None,
    device: str,
) -> CaptionJob:
    """Open the datastore, load the captioner and the CLAP, and check that they belong together.

    Raises:
        FingerprintMismatchError: they were made with different CLAPs.
        InputError: one of them cannot be used.
    """
    if contexts is not None and contexts < 0:
        raise OptionError(f"--contexts {contexts} is negative.", "Give 0 for none.")
    device = choose_device(device)
    store = DatastoreReference.of(datastore)
    decoder = CaptionerReference.of(captioner, device, beams)
    made_with = decoder.load().clap
    model = ClapReference.of(clap or made_with.name, device)
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
    return CaptionJob(
        clap=model,
        captioner=decoder,
        datastore=store,
        contexts=decoder.load().contexts if contexts is None else contexts,
        projection=decoder.load().projection if projection else None,
        policy=policy,
        embedding=embedding,
    )
