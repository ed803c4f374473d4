"""A map of embeddings: their two main directions, by singular value decomposition."""

from __future__ import annotations

import numpy as np

from sonogloss.records import FloatArray


def embedding_map(embeddings: FloatArray) -> list[list[float]]:
    """Places on a map, one a clip, [x, y] in [0, 1] with four decimals.

    The directions are the two main components of the centered embeddings; each axis is stretched to its range. The sign
    of an axis is such that its largest weight is positive, so equal embeddings give equal maps.

    Args:
        embeddings: [n, dim].
    """
    centered = embeddings.astype(np.float64) - embeddings.mean(axis=0, dtype=np.float64)
    _, directions = np.linalg.eigh(centered.T @ centered)
    main = directions[:, ::-1][:, :2]
    main = main * np.sign(main[np.abs(main).argmax(axis=0), range(main.shape[1])])
    places = centered @ main
    low, high = places.min(axis=0), places.max(axis=0)
    scaled = (places - low) / np.where(high > low, high - low, 1.0)
    return [[round(float(number), 4) for number in place] for place in scaled]
