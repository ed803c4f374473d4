import errno

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.errors import ClipError, Code, FingerprintMismatchError, InputError
from sonogloss.indexes.vectors import check_queries, check_stored, load_vectors
from tests.indexes.conftest import unit_rows


@pytest.mark.parametrize("shape", [(3,), (3, 0), (2, 3, 4), ()])
def test_only_rows_of_numbers_are_stored(shape):
    with pytest.raises(InputError, match="shape"):
        check_stored(np.zeros(shape, np.float32), what="shard 0")


def test_what_is_stored_is_float32_and_contiguous():
    given_ = np.asfortranarray(unit_rows(6).astype(np.float64))[::2]
    stored = check_stored(given_, what="shard 0")
    assert stored.dtype == np.float32
    assert stored.flags.c_contiguous
    np.testing.assert_array_equal(stored, given_.astype(np.float32))


@given(st.floats(0.5, 1.5))
def test_rows_are_of_unit_length_up_to_half_precision(length):
    rows = unit_rows(3)
    rows[1] *= np.float32(length)
    if abs(np.linalg.norm(rows[1]) - 1) <= 1e-3:
        check_stored(rows, what="x")
    else:
        with pytest.raises(InputError, match=r"1 vectors of x .* row 1"):
            check_stored(rows, what="x")


def test_vectors_that_were_kept_in_half_precision_pass():
    check_stored(unit_rows(50, dim=512).astype(np.float16), what="x")


@pytest.mark.parametrize("shape", [(8,), (2, 7), (2, 9), (1, 2, 8)])
def test_queries_must_fit_what_is_stored(shape):
    with pytest.raises(FingerprintMismatchError, match="width 8"):
        check_queries(np.zeros(shape, np.float32), 8)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_query_that_is_not_finite_is_named(value):
    queries = unit_rows(4)
    queries[2:, 5] = value
    with pytest.raises(ClipError, match="query 2 of 4") as caught:
        check_queries(queries, 8)
    assert caught.value.code == Code.NON_FINITE


def test_queries_need_not_be_of_unit_length_nor_contiguous():
    queries = (3 * unit_rows(8))[::2].astype(np.float64)
    checked = check_queries(queries, 8)
    assert checked.dtype == np.float32
    assert checked.flags.c_contiguous
    np.testing.assert_allclose(checked, queries, rtol=1e-6)


def test_a_file_that_there_is_no_room_to_map_is_not_called_damaged(tmp_path, monkeypatch):
    np.save(tmp_path / "vectors.npy", unit_rows(3))

    def no_room(*_, **__):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(np, "memmap", no_room)
    monkeypatch.setattr(np.lib.format, "open_memmap", no_room)
    with pytest.raises(InputError, match="--search partitioned"):
        load_vectors(str(tmp_path / "vectors.npy"), count=3, dim=8)
