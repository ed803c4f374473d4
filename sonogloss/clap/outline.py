"""What a job's launcher asks of a CLAP, from the small files of its directory: no weight is loaded."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sonogloss.clap.backend import clap_directory, is_transformers


@dataclass(frozen=True, kw_only=True)
class ClapOutline:
    """The attributes of :class:`~sonogloss.clap.protocol.Clap`, without the model."""

    name: str
    fingerprint: str
    config_digest: str | None
    dim: int
    sample_rate: int
    window_s: float
    temperature: float


def outline_clap(name: str) -> ClapOutline | None:
    """Look at a CLAP; the digests of its files are its fingerprint.

    Args:
        name: as of :func:`~sonogloss.clap.load_clap`.

    Returns:
        What its directory says; None for one that tells only when it is loaded: of another backend, without
        safetensors, or damaged.

    Raises:
        InputError: as of :func:`~sonogloss.clap.load_clap`.
    """
    if not is_transformers(name):
        return None
    # The model libraries take seconds to import, and importing this module must not cost that.
    from sonogloss.clap.model_directory import config_digest, read_config, read_preprocessor
    from sonogloss.clap.weights import fingerprint, weight_files

    with clap_directory(name) as directory:
        scale = _scale(weight_files(directory))
        if scale is None:
            return None
        config, settings = read_config(directory), read_preprocessor(directory)
        return ClapOutline(
            name=name,
            fingerprint=fingerprint(directory, settings),
            config_digest=config_digest(config),
            dim=int(config.projection_dim),
            sample_rate=settings.sample_rate,
            window_s=settings.window_s,
            temperature=math.exp(-scale),
        )


def _scale(paths: list[Path]) -> float | None:
    """The one number of the weights that a launcher needs: the logarithm of what similarities are multiplied by."""
    from safetensors import SafetensorError, safe_open

    for path in paths:
        if path.suffix == ".safetensors":
            with suppress(SafetensorError), safe_open(path, framework="pt") as file:
                if "logit_scale_a" in file.keys():  # noqa: SIM118  # it is no mapping
                    return float(file.get_tensor("logit_scale_a").float())
    return None
