"""A mean that can be gathered in pieces: sums are exact, so the order of the pieces cannot show in the result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, kw_only=True)
class Mean:
    """The sum and number of the values seen; `Mean()` has seen none."""

    total: Fraction = Fraction(0)
    n: int = 0

    @classmethod
    def of(cls, values: Iterable[float]) -> Mean:
        """The mean of finite values."""
        exact = [Fraction(value) for value in values]
        return cls(total=sum(exact, Fraction(0)), n=len(exact))

    def merge(self, other: Mean) -> Mean:
        """Both together; associative and commutative, exactly."""
        return Mean(total=self.total + other.total, n=self.n + other.n)

    @property
    def value(self) -> float:
        """The mean; not a number when nothing was seen."""
        return float(self.total / self.n) if self.n else float("nan")
