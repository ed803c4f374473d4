"""The command line of a configuration: values as from keywords, defaults of the fields, help for every option."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.errors import OptionError
from sonogloss.pipelines.command_line import JOBS, command_parser
from sonogloss.pipelines.config.captioning import CaptionConfig
from sonogloss.pipelines.config.fields import numbers, settings_of
from sonogloss.pipelines.config.parser import Parser, add_options, usage, without_old_spellings

from .test_fields import Toy

COMMANDS = sorted(JOBS)


def parse(config: Any, *argv: str) -> Any:
    parser = Parser(prog="toy")
    add_options(parser, config)
    known, others = parser.parse_known_args(without_old_spellings(argv, config))
    assert others == []
    return config(**vars(known))


def test_what_is_left_out_is_the_default_of_the_field() -> None:
    assert parse(Toy, "--audio", "a.wav", "--output", "out") == Toy(audio="a.wav", output="out")


def test_several_values_after_one_option_and_repeated_options_add_up() -> None:
    made = parse(Toy, "--audio", "a", "b", "--audio", "c", "--output", "o", "--beams", "2", "3")
    assert made.audio == ("a", "b", "c")
    assert made.beams == (2, 3)


def test_switches_have_two_forms_where_the_default_is_not_off() -> None:
    made = parse(Toy, "--audio", "a", "--output", "o", "--no-resume", "--fast")
    assert (made.resume, made.fast) == (False, True)
    with pytest.raises(OptionError):
        CaptionConfig(audio="a", output="o", fast="no")  # type: ignore[arg-type]


def test_options_nobody_here_knows_pass_on() -> None:
    parser = Parser(prog="toy")
    add_options(parser, Toy)
    known, others = parser.parse_known_args(["--audio", "a", "--output", "o", "--runner", "X", "--step", "3"])
    assert others == ["--runner", "X", "--step", "3"]  # no abbreviations either
    assert not hasattr(known, "steps")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--audio", "a"], ["--output"]),
        (["--audio", "a", "--output", "o", "--steps", "many"], ["--steps", "whole number", "'many'"]),
        (["--audio", "a", "--output", "o", "--tau", "warm"], ["--tau", "'clap'", "'warm'"]),
        (["--audio", "a", "--output", "o", "--band", "1"], ["--band", "2"]),
        (["--audio", "--output", "o"], ["--audio"]),
        (["--audio", "a", "--output", "o", "--kind", "ifv"], ["--kind 'ifv'", "did you mean 'ivf'?"]),
    ],
)
def test_a_mistake_is_one_sentence(argv: list[str], words: list[str]) -> None:
    with pytest.raises(OptionError) as error:
        parse(Toy, *argv)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@given(
    steps=st.integers(1, 10**9),
    rate=st.floats(0, 1),
    beams=st.lists(st.integers(1, 99), max_size=4),
    fast=st.booleans(),
    resume=st.booleans(),
    tau=st.one_of(st.just("clap"), st.floats(-5, 1e6)),
)
def test_the_command_line_and_the_keywords_make_the_same_configuration(
    steps: int, rate: float, beams: list[int], fast: bool, resume: bool, tau: Any
) -> None:
    argv = [
        "--audio",
        "a",
        "--output",
        "o",
        "--steps",
        str(steps),
        "--rate",
        repr(rate),
        f"--tau={tau!r}".replace("'", ""),
    ]
    argv += ["--beams", *map(str, beams)] if beams else []
    argv += (["--fast"] if fast else []) + (["--resume"] if resume else ["--no-resume"])
    expected = Toy(
        audio=["a"], output=Path("o"), steps=steps, rate=rate, beams=beams, fast=fast, resume=resume, tau=tau
    )
    assert parse(Toy, *argv) == expected


def test_an_old_name_of_an_option_works_with_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--audio", "a", "--projection-temperature=0.2", "--output", "o"]
    assert parse(CaptionConfig, *argv).temperature == 0.2
    assert capsys.readouterr().err == "sonogloss: note: --projection-temperature is now --temperature\n"


def test_numbers_of_beams_are_a_range_or_a_list() -> None:
    assert numbers("2-5") == (2, 3, 4, 5)
    assert numbers("8,2,4,2") == (2, 4, 8)
    for text in ("5-2", "two", "", "2-", "1.5", "2,,3"):
        with pytest.raises(OptionError):
            numbers(text)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_explains_itself_with_its_default(name: str) -> None:
    config = JOBS[name].load_config()
    text = command_parser(name).format_help()
    for setting in settings_of(config):
        assert setting.option.help[-1] not in ".;", f"{setting.flag} ends like a sentence"
        if not setting.option.positional:
            assert setting.flag in text
    without = [
        setting.flag for setting in settings_of(config) if not setting.required and not setting.option.default_text
    ]
    assert all(setting.default is not None for setting in settings_of(config) if setting.flag in without), (
        "a default of None needs default_text"
    )
    assert " ".join(text.split()).count("default: ") >= len([s for s in settings_of(config) if not s.required])


@pytest.mark.parametrize("name", COMMANDS)
def test_usage_names_what_is_required(name: str) -> None:
    config = JOBS[name].load_config()
    line = usage(name, config)
    for setting in settings_of(config):
        assert (setting.flag in line.split()) == (setting.required and not setting.option.positional)


def test_the_group_about_running_the_job_comes_last() -> None:
    titles = [group.title for group in command_parser("caption")._action_groups if group._group_actions]
    assert titles[-1] == "running the job"


def test_help_of_an_option_with_a_percent_sign_prints() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, Toy)
    assert "files" in parser.format_help()
