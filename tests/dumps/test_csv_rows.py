"""Rows of csv and tsv: quotes that close, quotes that do not, and numbers of lines."""

from __future__ import annotations

import csv
import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.dumps.csv_rows import LONGEST_ROW, csv_rows
from sonogloss.dumps.rows import Numbered

cells = st.text(st.sampled_from('ab ,\t"\n\r é\\'), max_size=8)


def rows(content: str | bytes, delimiter: str = ",") -> list[Numbered]:
    data = content.encode() if isinstance(content, str) else content
    return list(csv_rows(data.splitlines(keepends=True), ("text",), delimiter))


def texts(found: list[Numbered]) -> list[object]:
    return [row if isinstance(row, str) else row["text"] for _, row in found]


@given(table=st.lists(st.tuples(cells, cells), max_size=6), delimiter=st.sampled_from(",\t"))
def test_what_a_csv_writer_writes_is_read_as_it_was(table: list[tuple[str, str]], delimiter: str) -> None:
    target = io.StringIO(newline="")
    writer = csv.writer(target, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "x"), *table])
    found = rows(target.getvalue(), delimiter)
    assert [(row["text"], row["x"]) for _, row in found if not isinstance(row, str)] == table
    assert [number for number, _ in found] == sorted(number for number, _ in found)


@given(st.lists(st.sampled_from(['a,"b', "a,b", 'a,"b"', '"a', 'a"', '"a,b', "", '"a""b",c', 'x,5"']), max_size=12))
def test_no_line_is_lost_whatever_its_quotes(content: list[str]) -> None:
    found = rows("\n".join(["text,n", *content]) + "\n")
    covered = {number for number, _ in found}
    for number, line in enumerate(content, 2):
        if line and number not in covered:  # then it is inside a cell in quotes of a row before it
            before = max(each for each in covered if each < number)
            row = dict(found)[before]
            assert not isinstance(row, str)
            assert any("\n" in str(cell) for cell in row.values())


@pytest.mark.parametrize("place", [1, 150, 299])
@pytest.mark.parametrize("quoted", [False, True])
def test_a_quote_that_never_closes_costs_its_line_only(place: int, quoted: bool) -> None:
    content = [f'{n},"caption, {n}"' if quoted and n % 7 == 0 else f"{n},caption {n}" for n in range(300)]
    content[place] = f'{place},"unfinished quote and then a man says hello'
    found = rows("\n".join(["id,text", *content]) + "\n")
    bad = [(number, row) for number, row in found if isinstance(row, str)]
    assert [number for number, _ in bad] == [place + 2]
    assert "quote" in str(bad[0][1])
    assert len(found) == 300
    assert texts(found)[place - 1] in (f"caption {place - 1}", f"caption, {place - 1}")


def test_an_open_quote_that_a_later_one_closes_swallows_no_rows() -> None:
    content = ["id,text", '1,"open', "2,a", "3,b", "4,c", "5,d", '6,a 5"', "7,e"]
    found = rows("\n".join(content))
    assert [number for number, row in found if isinstance(row, str)] == [2]
    assert [text for text in texts(found) if not str(text).startswith("A quote")] == ["a", "b", "c", "d", 'a 5"', "e"]


def test_inch_marks_and_quoted_words_are_letters() -> None:
    content = '1\t5" nails drop\n2\t"Hello" says a man\n3\ta 12" record plays "loudly"\n4\t"stop" she says, "now"\n'
    found = texts(rows("id\ttext\n" + content, "\t"))
    assert found == ['5" nails drop', "Hello says a man", 'a 12" record plays "loudly"', 'stop she says, "now"']


def test_cells_with_line_breaks_are_numbered_by_their_first_line() -> None:
    found = rows('id,text\n1,"a\n\nb"\n2,"c\r\nd, ""e"""\n3,f\n')
    assert [(number, row["text"]) for number, row in found if not isinstance(row, str)] == [
        (2, "a\n\nb"), (5, 'c\r\nd, "e"'), (7, "f"),
    ]  # fmt: skip
    long = "\n".join(["line"] * (LONGEST_ROW - 1))
    assert texts(rows(f'id,text\n1,"{long}"\n')) == [long]


def test_too_many_fields_bad_bytes_and_nan_are_no_captions() -> None:
    found = rows(b'id,text\n1,a,b\n2,caf\xe9\n3,nan\n4\n5,fine\n6,"caf\xe9\nb"\n')
    assert "more fields" in str(found[0][1])
    assert "UTF-8" in str(found[1][1])
    assert math.isnan(texts(found)[2])  # type: ignore[arg-type]
    assert texts(found)[3:5] == [None, "fine"]
    assert isinstance(found[5][1], str)


def test_a_header_that_names_a_column_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="'text' twice"):
        rows("text,text\na,b\n")


def test_a_backslash_may_stand_before_a_quote() -> None:
    """As Spark and MySQL write it; where the rules of csv give a row, they count."""
    content = r"""text,n
"a \"dog\" barks",1
"he says \"hi, you\"",2
"it ends with \"",3
"C:\",4
"of ""both"" kinds \"",5
"Hello" says a \"man\",6
"two
lines \"",7
"""
    found = rows(content)
    assert texts(found)[:5] == ['a "dog" barks', 'he says "hi, you"', 'it ends with "', "C:\\", 'of "both" kinds "']
    assert [row["n"] for _, row in found[:5] if not isinstance(row, str)] == [1, 2, 3, 4, 5]
    assert texts(found)[5] == 'Hello says a \\"man\\"'


def test_files_with_byte_order_marks_may_be_joined() -> None:
    assert texts(rows('\ufefftext,n\n"a",1\n\ufeff"b, c",2\n'.removeprefix("\ufeff"))) == ["a", "b, c"]
