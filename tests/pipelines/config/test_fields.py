"""A field of a configuration: one form for its values, and one sentence for what cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from sonogloss.errors import OptionError
from sonogloss.pipelines.config.captioning import CaptionConfig
from sonogloss.pipelines.config.fields import AnyPath, Configuration, Paths, option, settings_of


@dataclass(frozen=True, kw_only=True)
class Toy(Configuration):
    """Every kind of field."""

    audio: Paths = option(help="files")
    output: AnyPath = option(help="folder", recorded=False)
    clap: AnyPath | None = option(None, help="model", default_text="the other's")
    steps: int = option(10, help="steps", at_least=1, digest="value")
    rate: float = option(0.5, help="share", at_least=0, at_most=1)
    tau: float | Literal["clap"] | None = option(None, help="temperature", default_text="none")
    kind: Literal["flat", "ivf"] = option("flat", help="kind", digest="value")
    precision: str | None = option(
        None, help="weights", choices=["float32", "bfloat16"], old_values={"fp32": "float32"}
    )
    beams: Sequence[int] = option((), help="numbers", at_least=1)
    band: Sequence[float] | None = option(None, help="two cosines", count=2)
    fast: bool = option(False, help="fast")
    resume: bool = option(True, help="resume")
    label: str = option("", help="text")
    metric: str = option("a", help="metric", choices=lambda: ("a", "b"))
    beam_args: Sequence[str] = ()


def toy(**values: Any) -> Toy:
    return Toy(**({"audio": "a.wav", "output": "out"} | values))


def test_paths_become_strings_and_one_becomes_a_tuple() -> None:
    made = toy(audio=Path("x/a.wav"), output=Path("out"), clap=Path("clap"))
    assert (made.audio, made.output, made.clap) == (("x/a.wav",), "out", "clap")
    assert toy(audio=[Path("a"), "b"]).audio == ("a", "b")
    assert toy(audio=("a",)) == toy(audio="a") == toy(audio=["a"])


def test_a_path_may_hold_any_bytes() -> None:
    assert toy(audio="caf\udce9.wav", clap="caf\udce9").clap == "caf\udce9"


def test_lists_become_tuples_and_whole_numbers_become_floats_where_floats_are_meant() -> None:
    made = toy(beams=[2, 3], band=[0, 1], rate=1, tau=2)
    assert (made.beams, made.band) == ((2, 3), (0.0, 1.0))
    assert isinstance(made.rate, float)
    assert toy(tau="clap").tau == "clap"
    assert toy(beams=4).beams == (4,)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"steps": 0}, ["--steps 0", "at least 1"]),
        ({"steps": 1.5}, ["--steps", "whole number", "1.5"]),
        ({"steps": "9"}, ["--steps", "whole number", "'9'"]),
        ({"steps": True}, ["--steps", "True"]),
        ({"steps": None}, ["--steps", "None"]),
        ({"rate": 1.01}, ["--rate 1.01", "at least 0 and at most 1"]),
        ({"rate": float("nan")}, ["--rate nan"]),
        ({"tau": float("nan")}, ["--tau nan", "Give a number."]),
        ({"tau": "warm"}, ["--tau", "'warm'"]),
        ({"kind": "falt"}, ["--kind 'falt'", "did you mean 'flat'?", "flat, ivf"]),
        ({"kind": "banana"}, ["--kind 'banana'", "Choose one of flat, ivf"]),
        ({"precision": "float23"}, ["--precision", "did you mean 'float32'?"]),
        ({"metric": "c"}, ["--metric 'c'", "a, b"]),
        ({"beams": [2, 0]}, ["--beams 0"]),
        ({"beams": [2, "x"]}, ["--beams", "'x'"]),
        ({"band": [0.1]}, ["--band takes 2 values, got 1"]),
        ({"fast": "yes"}, ["--fast", "true or false"]),
        ({"output": 3}, ["--output", "text", "3"]),
        ({"audio": [1]}, ["--audio", "text"]),
        ({"label": "caf\udce9"}, ["--label 'caf\\udce9' is not UTF-8"]),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_option(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(OptionError) as error:
        toy(**values)
    for word in words:
        assert word in str(error.value)


def test_an_old_spelling_of_a_value_works_with_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    assert toy(precision="fp32").precision == "float32"
    assert capsys.readouterr().err == "sonogloss: note: --precision fp32 is now --precision float32\n"
    assert toy(precision="float32").precision == "float32"
    assert capsys.readouterr().err == ""


def test_the_record_holds_every_recorded_option_as_json() -> None:
    record = toy(band=(0.5, 1.0), audio=Path("a")).as_json()
    assert record["band"] == [0.5, 1.0]
    assert record["audio"] == ["a"]
    assert set(record) == {setting.name for setting in settings_of(Toy)} - {"output"}


def test_an_option_joins_the_digest_only_when_it_is_not_the_default() -> None:
    """So results stay resumable when a later release adds an option."""
    assert toy().row_options() == {}
    assert toy(steps=11, rate=0.1).row_options() == {"steps": 11}
    assert toy(steps=11, kind="ivf").row_options() == {"steps": 11, "kind": "ivf"}


def test_every_option_of_caption_says_whether_it_shapes_a_row() -> None:
    only_the_run = {
        "audio",
        "output",
        "resume",
        "overwrite",
        "dry_run",
        "retry_dead_letters",
        "break_lease",
        "max_dead_letters",
        "workers",
        "device",
        "wait",
        "on_interrupt",
        "min_ram",
        "accelerator",
        "price_per_hour",
        "search",
        "store_check",
        "format",
    }
    assert {setting.name for setting in settings_of(CaptionConfig) if setting.option.digest is None} == only_the_run


def test_a_configuration_is_frozen_and_compares_by_value() -> None:
    made = toy()
    with pytest.raises(AttributeError):
        made.steps = 3  # type: ignore[misc]
    assert made == toy() != toy(steps=3)
