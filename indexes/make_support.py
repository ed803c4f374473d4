"""The support of a store whose shards are written: all captions, some of them, their cluster centers, or another's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sonogloss.errors import FingerprintMismatchError, OptionError
from sonogloss.indexes.build import write_support_part
from sonogloss.indexes.clusters import ROWS_A_CENTER, cluster_centers
from sonogloss.indexes.layout import ALL, read_manifest, shard_from_json
from sonogloss.indexes.support import Support
from sonogloss.indexes.train import Rows, spread

_SPEC = re.compile(r"(sample|kmeans):([1-9]\d*)")
_PART_ROWS = 1_000_000


def check_support(wanted: str, clap: Mapping[str, Any]) -> None:
    """Refuse a support that cannot be made.

    Raises:
        OptionError: a number is missing.
        InputError: it is no datastore with a support.
        FingerprintMismatchError: another CLAP made it.
    """
    if wanted == ALL or _SPEC.fullmatch(wanted):
        return
    if wanted.split(":")[0] in ("sample", "kmeans"):
        raise OptionError(f"--support {wanted!r} has no number of rows.", "Write sample:10000 or kmeans:1000.")
    made_with = read_manifest(wanted).clap
    if made_with["fingerprint"] != clap["fingerprint"]:
        raise FingerprintMismatchError(
            f"--support {wanted!r} was made with {made_with['name']!r}, and the captions are embedded with "
            f"{clap['name']!r}.",
            "Name a datastore of the same CLAP.",
        )
    Support.open(wanted)


def make_support(
    directory: str,
    shards: Sequence[Mapping[str, Any]],
    wanted: str,
    *,
    dtype: str,
    clap: Mapping[str, Any],
    first: int = 0,
    device: str = "cpu",
) -> list[dict[str, Any]] | None:
    """Write the parts of a support.

    Args:
        directory: the datastore's path or URL.
        shards: entries of its shards.
        wanted: `all`, `sample:N`, `kmeans:N` or the path of another datastore.
        dtype: what vectors are stored as.
        clap: of the datastore.
        first: the number of the first part.
        device: where centers are found.

    Returns:
        The entries for the manifest; None where the shards' vectors are the support.
    """
    if wanted == ALL:
        return None
    check_support(wanted, clap)
    if match := _SPEC.fullmatch(wanted):
        rows = Rows(directory, [shard_from_json(shard) for shard in shards if shard["count"]], dtype)
        if not rows.count:
            return None
        size = int(match[2])
        rows_read = size if match[1] == "sample" else ROWS_A_CENTER * size
        taken = rows.take(spread(rows.count, rows_read))
        parts = [taken if match[1] == "sample" else cluster_centers(taken, size, device=device)]
    else:
        parts = [np.asarray(part, np.float32) for part in Support.open(wanted).parts]
    pieces = [part[start : start + _PART_ROWS] for part in parts for start in range(0, len(part), _PART_ROWS)]
    return [write_support_part(directory, number, piece, dtype) for number, piece in enumerate(pieces, first)]
