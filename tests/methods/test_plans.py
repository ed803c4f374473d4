"""The presets of the methods that learn: the released numbers, and ours, which know the size of things."""

from __future__ import annotations

from dataclasses import fields
from types import ModuleType

import pytest

from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import OptionError
from sonogloss.methods import ClapIdentity, ProjectionSettings
from sonogloss.methods.drcap import method as drcap
from sonogloss.methods.drcap.method import DrcapSettings
from sonogloss.methods.drcap.prompt import ComposedPrompt
from sonogloss.methods.plan import MethodTraining, Neighbours, own_decode, own_training
from sonogloss.methods.registry import METHODS, get_method
from sonogloss.methods.soft_hard import method as soft_hard
from sonogloss.methods.soft_hard.method import SoftHardSettings
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt

CLAP = ClapIdentity(name="a-clap", fingerprint="", dim=1024)


def test_the_released_numbers_of_drcap() -> None:
    released = drcap.paper(captions=49_274, clap=CLAP, parameters=1)
    training = released.training
    assert (training.steps, training.batch_size, training.learning_rate) == (40_000, 4, 1e-5)
    assert (training.warmup_steps, training.schedule, training.weight_decay) == (1_000, "linear", 0.0)
    assert (training.tune, training.lora_rank, training.lora_alpha, training.lora_dropout) == ("lora", 8, 32, 0.05)
    assert (training.seed, training.eval_every, training.precision) == (1234, 1_000, "auto")
    assert released.settings == DrcapSettings(contexts=3, band=(0.75, 0.85), redraw=False)
    assert released.prompt == ComposedPrompt()
    assert (released.mapper.kind, released.mapper.hidden) == ("relu", 2048)
    assert released.projection == ProjectionSettings(temperature="clap", renormalise=False)
    assert released.decode == DecodeSettings(num_beams=4, max_new_tokens=200)


def test_the_released_numbers_of_soft_and_hard_prompts() -> None:
    released = soft_hard.paper(captions=49_274, clap=CLAP, parameters=1)
    training = released.training
    epoch = 49_274 // 40
    assert (training.steps, training.warmup_steps, training.batch_size) == (15 * epoch, 5 * epoch, 40)
    assert (training.learning_rate, training.schedule, training.tune, training.seed) == (1e-5, "linear", "all", 0)
    assert training.precision == "float32"
    assert released.settings == SoftHardSettings(neighbours=5, mask=0.4, noise_variance=0.001)
    assert released.prompt == SoftHardPrompt(labels=4, soft_slots=10, max_answer_tokens=25)
    assert (released.mapper.kind, released.projection) == ("mlp", None)
    assert soft_hard.paper(captions=7, clap=CLAP, parameters=1).training.steps == 15  # an epoch has a step at least


@pytest.mark.parametrize(
    ("captions", "steps"), [(10, 300), (6_400, 300), (60_000, 2812), (426_667, 20_000), (10**9, 20_000)]
)
def test_our_own_trainings_last_about_three_epochs(captions: int, steps: int) -> None:
    training = own_training(captions, 1)
    assert training.steps == steps
    assert (training.warmup_steps, training.eval_every) == (steps // 20, steps // 10)


def test_a_language_model_of_fifty_million_is_trained_as_a_whole_and_a_larger_one_through_an_adapter() -> None:
    small, large = own_training(1000, 50_000_000), own_training(1000, 50_000_001)
    assert (small.tune, small.learning_rate) == ("all", 1e-3)
    assert (large.tune, large.learning_rate) == ("lora", 3e-4)
    hidden = [drcap.own(captions=1, clap=CLAP, parameters=n).mapper.hidden for n in (50_000_000, 50_000_001)]
    assert hidden == [512, 2048]


@pytest.mark.parametrize("dim", [256, 512, 1024])
def test_our_noise_leaves_the_same_cosine_at_every_width(dim: int) -> None:
    clap = ClapIdentity(name="a-clap", fingerprint="", dim=dim)
    variance = soft_hard.own(captions=1, clap=clap, parameters=1).settings.noise_variance
    assert (1 + dim * variance) ** -0.5 == pytest.approx(0.916, abs=2e-3)
    # DRCap's standard deviation is uniform between 0 and its largest, whose cosine is this.
    largest = drcap.own(captions=1, clap=clap, parameters=1).settings.noise_std_max
    assert (1 + dim * largest**2) ** -0.5 == pytest.approx(0.781, abs=2e-3)


def test_the_band_is_that_of_the_clap() -> None:
    assert drcap.own(captions=1, clap=CLAP, parameters=1).settings.band == (0.75, 0.85)
    pocket = ClapIdentity(name="pocket", fingerprint="", dim=256)
    assert drcap.own(captions=1, clap=pocket, parameters=1).settings.band == (0.90, 0.97)
    assert drcap.paper(captions=1, clap=pocket, parameters=1).settings.band == (0.75, 0.85)


def test_our_search_is_the_released_one_for_captions_of_a_usual_length() -> None:
    released = DecodeSettings(num_beams=3, max_new_tokens=67, scoring="average", stop=(".",))
    assert own_decode(released, 1) == DecodeSettings(
        num_beams=3, max_new_tokens=60, scoring="average", stop=(".",), batch_size=32
    )
    assert own_decode(DecodeSettings(max_new_tokens=20), 1).max_new_tokens == 20


@pytest.mark.parametrize("method", [drcap, soft_hard])
def test_captions_of_a_large_language_model_do_not_run_in_circles(method: ModuleType) -> None:
    plans = [method.own(captions=1, clap=CLAP, parameters=parameters) for parameters in (1, 10**9)]
    assert [plan.decode.no_repeat_ngram for plan in plans] == [0, 3]
    assert method.paper(captions=1, clap=CLAP, parameters=10**9).decode.no_repeat_ngram == 0


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (DrcapSettings(), Neighbours(count=3, band=(0.75, 0.85), seed=7)),
        (DrcapSettings(redraw=True), Neighbours(count=32, band=(0.75, 0.85), seed=7)),
        (DrcapSettings(redraw=True, contexts=40), Neighbours(count=40, band=(0.75, 0.85), seed=7)),
        (DrcapSettings(contexts=0), None),
        (DrcapSettings(contexts=0, redraw=True), None),
        (SoftHardSettings(), Neighbours(count=5)),
        (SoftHardSettings(neighbours=1), None),
    ],
)
def test_what_is_looked_up_before_training(settings: DrcapSettings | SoftHardSettings, wanted: Neighbours) -> None:
    assert settings.mining(7) == wanted


def test_a_method_reads_as_many_contexts_as_it_learned_with() -> None:
    assert DrcapSettings(contexts=5).contexts == 5
    assert SoftHardSettings().contexts == 0


def test_every_number_of_a_method_explains_itself() -> None:
    """They become options of train-captioner: one without help would be settable in Python alone."""
    for name in METHODS:
        training = get_method(name).training
        if training is not None:
            assert all(field.metadata["help"] for field in fields(training.settings))


def test_a_method_that_learns_has_defaults() -> None:
    with pytest.raises(OptionError, match="lack 'own'"):
        MethodTraining(settings=DrcapSettings, examples="x:y", presets={"paper": drcap.paper})
