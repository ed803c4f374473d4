"""How many rows go through a model at once, so that a row's bytes do not depend on its neighbors.

On a CPU the last bits of a matrix product change with its shape. Measured with one thread on towers of 192 and of 768
dimensions: a row gives the same bytes at any place among any neighbors, in batches of four rows or more. One, two and
three rows go through other kernels. The padded length of a text changes its bytes too, so it must follow from the text
alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

FEWEST_ROWS = 4
_TOKEN_STEP = 2


def batches(rows: Sequence[int], largest: int) -> Iterator[list[int]]:
    """Rows in calls of at most `largest`, about equally many each; the last row fills up a call that is too small.

    Example:
        >>> list(batches([7, 8], 16))
        [[7, 8, 8, 8]]
    """
    calls = -(-len(rows) // largest)
    for call in range(calls):
        some = list(rows[len(rows) * call // calls : len(rows) * (call + 1) // calls])
        yield some + some[-1:] * (FEWEST_ROWS - len(some))


def padded_length(tokens: int, longest: int) -> int:
    """The length that a text of so many tokens is padded to: the next even number, but not over `longest`."""
    return max(tokens, min(-(-tokens // _TOKEN_STEP) * _TOKEN_STEP, longest))
