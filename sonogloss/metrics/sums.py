"""What clips add to a corpus: rows of numbers whose sums give the values of metrics."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


def of_values(values: npt.ArrayLike) -> Numbers:
    """Rows for a mean: the value and one, [clips, 2]; not a number where the clip has no value."""
    found = np.asarray(values, np.float64)
    return np.stack([found, np.where(np.isnan(found), np.nan, 1.0)], axis=-1)


def mean(numbers: Numbers) -> Numbers:
    """The mean behind rows, or sums of rows, [..., 2]; not a number where there is no value."""
    count = numbers[..., 1]
    return np.divide(numbers[..., 0], count, out=np.full_like(count, np.nan), where=count > 0)
