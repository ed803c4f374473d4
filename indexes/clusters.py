"""Spherical k-means of unit rows: by FAISS on the processor, by PyTorch on a GPU.

The two draw other first rows and round otherwise, so their centers differ; each gives the same ones when it is repeated
on the same machine.
"""

from __future__ import annotations

import faiss
import numpy as np

from sonogloss.records import FloatArray

ROWS_A_CENTER = 64
"""Rows that a center is found from; more move it little."""
_ROUNDS = 20
_ROWS = 1 << 16  # compared with the centers at one time


def cluster_centers(rows: FloatArray, count: int, *, device: str = "cpu") -> FloatArray:
    """Unit centers float32 [count, dim] of unit rows [n, dim]; the rows themselves where there are no more."""
    if len(rows) <= count:
        return rows
    if device != "cpu":
        return _on_device(rows, count, device)
    kmeans = faiss.Kmeans(
        rows.shape[1],
        count,
        niter=_ROUNDS,
        spherical=True,
        seed=1,
        min_points_per_centroid=1,
        max_points_per_centroid=ROWS_A_CENTER,
    )
    kmeans.train(rows)
    return np.asarray(kmeans.centroids, np.float32)


def _on_device(rows: FloatArray, count: int, device: str) -> FloatArray:
    import torch  # here, because a job on the processor does not need it

    rng = np.random.default_rng(1)
    if len(rows) > count * ROWS_A_CENTER:
        rows = rows[np.sort(rng.choice(len(rows), count * ROWS_A_CENTER, replace=False))]
    placed = torch.from_numpy(np.ascontiguousarray(rows, np.float32)).to(device)
    centers = placed[torch.from_numpy(rng.choice(len(rows), count, replace=False)).to(device)]
    for _ in range(_ROUNDS):
        best = [(placed[start : start + _ROWS] @ centers.T).max(dim=1) for start in range(0, len(rows), _ROWS)]
        scores, nearest = torch.cat([part.values for part in best]), torch.cat([part.indices for part in best])
        sizes = torch.bincount(nearest, minlength=count)
        order = torch.argsort(nearest, stable=True)  # rows of a center side by side: their sum has one order
        sums = torch.segment_reduce(placed[order], "sum", lengths=sizes, axis=0)
        centers = torch.nn.functional.normalize(sums)
        empty = torch.nonzero(sizes == 0)[:, 0]
        centers[empty] = placed[torch.argsort(scores, stable=True)[: len(empty)]]  # the rows that fit worst
    return np.asarray(centers.cpu().numpy())
