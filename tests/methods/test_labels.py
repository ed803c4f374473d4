from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonogloss.errors import FormatError, MissingInputError, ModelFormatError, OptionError
from sonogloss.methods.labels import LabelBank, embed_labels, load_bank, normalised, read_labels, save_bank
from sonogloss.records import FloatArray


class Letters:
    """A text encoder that counts a few letters, and remembers what it was given."""

    fingerprint = "letters"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        self.seen += texts
        counts = np.array([[1 + text.count(letter) for letter in "abdeghn"] for text in texts], np.float32)
        return np.asarray(counts / np.linalg.norm(counts, axis=1, keepdims=True), np.float32)


def test_golden_text_preprocessing(shared_data: Path) -> None:
    path = shared_data / "golden" / "softhard" / "hard_prompts.json"
    if not path.is_file():
        pytest.skip("the golden soft-hard cases are not beside this repository")
    for pair in json.loads(path.read_text(encoding="utf-8"))["text_preprocess"]:
        assert normalised(pair["input"]) == pair["output"]


def test_the_bundled_labels_are_words() -> None:
    labels = read_labels("pocket")
    assert len(labels) == len(set(labels)) >= 50
    assert "car horn" in labels


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.txt", "Dog\r\n\n Male  speech, man speaking \nDog\n"),
        ("labels.csv", 'index,mid,display_name\n0,/m/1,"Dog"\n1,/m/2,"Male speech, man speaking"\n2,/m/1,Dog\n'),
        ("labels.tsv", "name\tcount\nDog\t3\nMale speech, man speaking\t1\n"),
        ("list.json", '["Dog", "Male speech, man speaking", "Dog"]'),
        ("objects.json", '[{"id": 1, "name": "Dog"}, {"id": 2, "name": "Male speech, man speaking"}]'),
        ("by_index.json", '{"0": "Dog", "1": "Male speech, man speaking"}'),
        ("by_name.json", '{"Male speech, man speaking": 1, "Dog": 0}'),
    ],
)
def test_labels_come_in_many_files(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_labels(str(tmp_path / name)) == ("Dog", "Male speech, man speaking")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", "\n \n", "holds no labels"),
        ("other.csv", "sound,count\ndog,1\n", "no column name or label"),
        ("broken.json", "[", "line 1: not JSON"),
        ("number.json", "3", "holds no names"),
        ("numbers.json", "[1, 2]", "holds no names"),
        ("unnamed.json", '[{"id": 1}]', "no column name"),
        ("deep.json", '{"Dog": [1]}', "not the index of a name"),
    ],
)
def test_what_holds_no_labels_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(FormatError, match=message):
        read_labels(str(tmp_path / name))


def test_labels_that_are_not_there() -> None:
    with pytest.raises(MissingInputError, match=r"--labels 'no-such-labels\.txt' is not a file"):
        read_labels("no-such-labels.txt")


def test_labels_are_embedded_as_the_method_wants_them() -> None:
    clap = Letters()
    bank = embed_labels(["Male speech, man speaking"], clap)
    assert clap.seen == ["male speech man speaking"]
    assert (bank.labels, bank.clap, bank.dim) == (("Male speech, man speaking",), "letters", 7)
    embed_labels(["Dog"], clap, normalise=False, template="This is a sound of {label}.")
    assert clap.seen[-1] == "This is a sound of Dog."
    with pytest.raises(OptionError, match=r"must hold .* once"):
        embed_labels(["Dog"], clap, template="sound")


@settings(deadline=None, max_examples=40, derandomize=True)
@given(names=st.lists(st.text("abdeghn ", min_size=1, max_size=8), min_size=1, max_size=9), rows=st.integers(1, 5))
def test_the_nearest_labels_come_first_and_equal_ones_by_index(names: list[str], rows: int) -> None:
    bank = embed_labels(names, Letters(), normalise=False)
    queries = np.random.default_rng(rows).standard_normal((rows, 7)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    scores = bank.scores(queries)
    for row, found in enumerate(bank.top(queries, len(names))):
        assert sorted(range(len(names)), key=lambda i: (-scores[row, i], i)) == found.tolist()
        assert np.array_equal(bank.top(queries[row : row + 1], len(names))[0], found)
    for length in (1, 0.5):  # a projected embedding may be shorter
        for row, nearest in enumerate(bank.nearest(length * queries, len(names))):
            assert [name.label for name in nearest] == bank.names(length * queries, len(names))[row]
            assert [name.score for name in nearest] == pytest.approx(sorted(scores[row], reverse=True), abs=1e-6)


def test_too_many_labels_are_not_to_be_had() -> None:
    bank = embed_labels(["a", "b"], Letters())
    assert bank.top(np.zeros((3, 7), np.float32), 0).shape == (3, 0)
    for k in (-1, 3):
        with pytest.raises(OptionError, match="of 2 labels"):
            bank.top(np.zeros((1, 7), np.float32), k)
    with pytest.raises(OptionError, match="do not go with"):
        LabelBank(labels=("a",), embeddings=np.zeros((2, 7), np.float32), clap="")


def test_a_saved_bank_is_the_same(tmp_path: Path) -> None:
    bank = embed_labels(["dog", "Éclat"], Letters())
    save_bank(bank, str(tmp_path))
    again = load_bank(str(tmp_path))
    assert (again.labels, again.clap) == (bank.labels, bank.clap)
    assert np.array_equal(again.embeddings, bank.embeddings)
    (tmp_path / "labels.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelFormatError, match="bank of labels"):
        load_bank(str(tmp_path))
    (tmp_path / "labels.json").unlink()
    with pytest.raises(ModelFormatError, match="bank of labels"):
        load_bank(str(tmp_path))


names = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8).filter(
        lambda name: '"' not in name
    ),
    min_size=1,
    max_size=6,
    unique=True,
)


@pytest.mark.parametrize("kind", ["txt", "csv", "tsv", "json"])
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=names)
def test_what_a_library_writes_is_read_as_it_was(tmp_path: Path, kind: str, labels: list[str]) -> None:
    path = tmp_path / f"labels.{kind}"
    with path.open("w", encoding="utf-8", newline="") as handle:
        if kind == "json":
            json.dump({str(i): label for i, label in enumerate(labels)}, handle)
        elif kind == "txt":
            handle.write("\n".join(labels))
        else:
            rows = csv.writer(handle, delimiter="\t" if kind == "tsv" else ",", quoting=csv.QUOTE_ALL)
            rows.writerows([["mid", "display_name"], *(("/m/1", label) for label in labels)])
    assert read_labels(str(path)) == tuple(labels)


def test_a_byte_order_mark_is_no_part_of_a_label(tmp_path: Path) -> None:
    for name in ("labels.txt", "labels.csv"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbfname\nDog\n")
    assert read_labels(str(tmp_path / "labels.csv")) == ("Dog",)
    assert read_labels(str(tmp_path / "labels.txt")) == ("name", "Dog")  # of a plain list the first line is a label


def test_a_label_in_two_forms_of_unicode_is_one(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("caf\u00e9\ncafe\u0301\n", encoding="utf-8")
    assert read_labels(str(tmp_path / "labels.txt")) == ("caf\u00e9",)


def test_names_by_index_come_in_the_order_of_the_index(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps({f"n{i}": i for i in (10, 9, 2, 11)}))
    assert read_labels(str(tmp_path / "labels.json")) == ("n2", "n9", "n10", "n11")  # as numbers, not as text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Male speech, man speaking", "male speech man speaking"),
        ("A dog barks.", "a dog barks "),
        ("Hello , world !", "hello world "),
        ('He said "stop" (twice)', "he said stop  twice "),  # three blanks become two
        ("a    b", "a b"),
        ("a     b", "a  b"),  # pairs of blanks are halved twice and no more
        ("rain|wind*", "rain wind "),
        ("rain , ,", "rain  "),  # the first mark takes the blank between the two along
    ],
)
def test_text_is_plain_as_the_released_rule_has_it(text: str, plain: str) -> None:
    assert normalised(text) == plain


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=names, clap=st.text(max_size=9))
def test_a_bank_of_any_names_comes_back(tmp_path: Path, labels: list[str], clap: str) -> None:
    rows = np.random.default_rng(0).standard_normal((len(labels), 3)).astype(np.float32)
    bank = LabelBank(labels=tuple(labels), embeddings=rows, clap=clap)
    save_bank(bank, str(tmp_path))
    again = load_bank(str(tmp_path))
    assert (again.labels, again.clap) == (bank.labels, bank.clap)
    assert np.array_equal(again.embeddings, rows)
    assert json.loads((tmp_path / "labels.json").read_text(encoding="utf-8")).keys() == {"clap", "labels"}


def test_banks_that_do_not_go_together_on_disk_are_refused(tmp_path: Path) -> None:
    save_bank(embed_labels(["dog", "cat"], Letters()), str(tmp_path))
    (tmp_path / "labels.json").write_text('{"clap": "letters", "labels": ["dog"]}')
    with pytest.raises(ModelFormatError, match="1 labels do not go with embeddings"):
        load_bank(str(tmp_path))
