"""Captions to learn from: none of a captioned clip's own is among them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from benchmarks.real_sound_data import evenly, read_captions, read_half


def write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def test_a_clip_is_in_one_half_and_its_captions_are_not_learned_from(tmp_path: Path) -> None:
    clips = [{"filename": f"{name}.ogg", "captions": [f"A {name} sounds."]} for name in ("owl", "bell", "cat")]
    write_lines(tmp_path / "audio" / "audiocaps_captioned" / "metadata.jsonl", clips)
    write_lines(tmp_path / "audio" / "clotho_captioned" / "metadata.jsonl", [{"filename": "a.ogg", "captions": ["x"]}])
    halves = [[path.stem for path, _ in read_half(tmp_path / "audio", half)] for half in ("development", "test")]
    assert halves == [["bell", "owl", "a"], ["cat"]]
    dumps = tmp_path / "captions"
    write_lines(
        dumps / "audiocaps_train.jsonl.gz", [{"caption": text} for text in ("a cat sounds", "Rain", "Wind", "Sea")]
    )
    write_lines(dumps / "clotho_train.jsonl.gz", [{"captions": ["A dog\n barks", "A dog barks", "X."]}])
    write_lines(dumps / "bbc_sound_effects.jsonl.gz", [{"description": "Train"}, {"description": "Tram"}])
    write_lines(dumps / "wavtext5k.jsonl.gz", [{"description": ""}, {"description": "Forest"}])
    assert read_captions(tmp_path) == {
        "audiocaps": ["Rain", "Wind", "Sea"],
        "clotho": ["A dog barks"],
        "bbc": ["Train", "Tram"],
        "wavtext5k": ["Forest"],
    }


def test_captions_are_taken_at_even_distances() -> None:
    assert evenly([str(number) for number in range(10)], 4) == ["0", "2", "5", "7"]
