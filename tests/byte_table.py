"""The golden data's stand-in for a text encoder: rows of a table, picked by byte and place, and their mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sonogloss.records import FloatArray


class ByteTable:
    """`table` is [257, dim]. Its vectors depend on order and on every blank, and are not of unit length."""

    def __init__(self, table: FloatArray) -> None:
        self.table = table

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        """Rows [n, dim]; zeros for an empty text."""
        rows = np.zeros((len(texts), self.table.shape[1]), np.float32)
        for row, text in enumerate(texts):
            if places := [(7 * byte + place) % 257 for place, byte in enumerate(text.encode())]:
                rows[row] = self.table[places].astype(np.float64).mean(axis=0)
        return rows
