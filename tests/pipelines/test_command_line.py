from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sonogloss.pipelines.command_line import JOBS, option_names

from .conftest import Run, assert_one_line


def test_help_brings_nothing_heavy() -> None:
    program = (
        "import sys; from sonogloss.pipelines.command_line import main; code = main(['--help']);"
        "heavy = {'torch', 'transformers', 'apache_beam', 'pyarrow', 'faiss', 'numpy'} & set(sys.modules);"
        "sys.exit(f'imports {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in JOBS:
        assert command in done.stdout


@pytest.mark.parametrize("command", sorted(JOBS))
def test_every_command_explains_itself_with_an_example(run: Run, command: str) -> None:
    outcome = run(command, "--help")
    assert outcome.code == 0
    assert f"sonogloss {command}" in outcome.out
    assert "example:" in outcome.out


def test_version(run: Run) -> None:
    assert run("--version").out.startswith("sonogloss ")


def test_no_command_is_a_question_about_usage(run: Run) -> None:
    outcome = run()
    assert outcome.code == 2
    assert "usage" in outcome.out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["captoin"], ["captoin"]),
        (["verify"], ["DIR"]),
        (["classify", "--audio", "x", "--labels", "l"], ["--output"]),
        (
            ["caption", "--audio", "x", "--datastore", "d", "--output", "o", "--contxts", "3"],
            ["--contxts", "--contexts"],
        ),
        (
            ["caption", "--audio", "x", "--datastore", "d", "--output", "o", "--direct_num_worker=2"],
            ["direct_num_workers"],
        ),
        (["caption", "--audio", "x", "--datastore", "d", "--output", "o", "-q"], ["-q"]),
        (["caption", "--audio", "x", "--datastore", "d", "--output", "o", "--window", "long"], ["--window"]),
        (["caption", "--audio", "x", "--datastore", "d", "--output", "o", "--direct_num_workers=x"], ["Beam", "x"]),
        (["caption", "--audio", "x", "--datastore", "d", "--output", "o", "--runner=DaskRunner"], ["DaskRunner"]),
        (["caption", "--audio", "x", "--output", "o", "--runner=DataflowRunner"], ["--project", "--temp_location"]),
        (["caption", "--audio", "x", "--output", "o", "--runner=FinkRunner"], ["did you mean 'FlinkRunner'?"]),
        (["caption", "--audio", "x", "--output", "o", "--device", "gpu"], ["--device 'gpu'", "'cuda'"]),
        (["verify", "d", "--out=x"], ["--out"]),
        (["build-datastore", "--captions", "x", "--output", "o", "--shards", "0"], ["--shards"]),
        (["build-datastore", "--captions", "x", "--output", "o", "--text-colum", "c"], ["--text-column"]),
        (["search", "d", "--text", "a", "--audio", "b"], ["--audio"]),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(run: Run, argv: list[str], words: list[str]) -> None:
    assert_one_line(run(*argv), *words)


def test_options_of_beam_pass_and_are_understood() -> None:
    from apache_beam.options.pipeline_options import DirectOptions, StandardOptions

    from sonogloss.pipelines.running.beam_options import beam_options, is_local

    parsed = beam_options(["--direct_num_workers", "2", "--direct_running_mode=multi_processing"])
    assert parsed.view_as(DirectOptions).direct_num_workers == 2
    assert parsed.view_as(StandardOptions).runner == "FnApiRunner"
    assert is_local(parsed)
    assert not is_local(beam_options(["--runner=FlinkRunner", "--flink_master=host:8081"]))


def test_option_names_are_those_of_the_command() -> None:
    names = option_names("caption")
    assert "--audio" in names
    assert "--no-resume" in names
    assert "--captions" not in names


def test_files_and_folders_are_listed_as_audio(tmp_path: Path) -> None:
    from sonogloss.errors import MissingInputError
    from sonogloss.pipelines.running.inputs import list_audio

    for name in ("b.WAV", "a.flac", "notes.txt", "deep/c.mp3", "odd.xyz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found, skipped = list_audio([str(tmp_path)])
    assert [Path(source.uri).name for source in found] == ["a.flac", "b.WAV", "c.mp3"]
    assert sorted((Path(each.uri).name, each.code) for each in skipped.rows) == [
        ("notes.txt", "NOT_AUDIO"),
        ("odd.xyz", "NOT_AUDIO"),
    ]
    found, skipped = list_audio([str(tmp_path / "*.xyz"), str(tmp_path / "**" / "*.mp3"), str(tmp_path / "odd.xyz")])
    assert [Path(source.uri).name for source in found] == ["c.mp3", "odd.xyz"]
    assert skipped.counts == {"REPEATED": 1}
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "x.pdf").touch()
    with pytest.raises(MissingInputError, match="holds no recording among 1 files"):
        list_audio([str(tmp_path / "papers")])
