"""A job as a Python function: a configuration or keywords, with the signature and documentation of its fields."""

from __future__ import annotations

import inspect
import pickle

import pytest

import sonogloss
from sonogloss.errors import OptionError
from sonogloss.pipelines.caption_audio import caption
from sonogloss.pipelines.config.captioning import CaptionConfig
from sonogloss.pipelines.config.parser import command

from .test_fields import Toy


@command(Toy)
def job(config: Toy) -> dict[str, object]:
    """Do the work.

    Returns:
        The report.
    """
    return {"steps": config.steps, "audio": config.audio}


def test_a_configuration_and_its_keywords_do_the_same() -> None:
    assert job(Toy(audio="a", output="o", steps=3)) == job(audio=["a"], output="o", steps=3)


def test_a_keyword_that_does_not_exist_is_a_type_error_and_a_bad_value_is_ours() -> None:
    with pytest.raises(TypeError, match="stepz"):
        job(audio="a", output="o", stepz=3)  # type: ignore[call-arg]
    with pytest.raises(OptionError, match="--steps 0"):
        job(audio="a", output="o", steps=0)


def test_signature_and_documentation_come_from_the_fields() -> None:
    parameters = inspect.signature(job).parameters
    assert list(parameters) == list(inspect.signature(Toy).parameters)
    assert parameters["steps"].default == 10
    assert job.__name__ == "job"
    document = inspect.getdoc(job) or ""
    assert document.startswith("Do the work.")
    assert "steps: steps. Default: 10." in document
    assert document.rstrip().endswith("The report.")


def test_the_captioning_job_documents_all_its_options() -> None:
    document = caption.__doc__ or ""
    for name in inspect.signature(CaptionConfig).parameters:
        if name != "beam_args":
            assert f"\n    {name}: " in document


def test_a_configuration_travels_to_other_processes() -> None:
    config = CaptionConfig(audio="a", output="o", candidate_beams=[2, 3])
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize("name", sonogloss.__all__)
def test_what_a_script_wants_is_offered_lazily(name: str) -> None:
    assert callable(getattr(sonogloss, name))
    assert name in dir(sonogloss)


def test_a_name_that_is_not_offered_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="captoin"):
        sonogloss.captoin  # noqa: B018
