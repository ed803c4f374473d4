from __future__ import annotations

from sonogloss.methods import presets
from sonogloss.methods.drcap.prompt import ComposedPrompt
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt
from sonogloss.training.config import DrcapSettings, SoftHardSettings


def test_the_released_numbers_of_drcap() -> None:
    released = presets.paper("drcap", 49_274)
    training = released.training
    assert (training.steps, training.batch_size, training.learning_rate) == (40_000, 4, 1e-5)
    assert (training.warmup_steps, training.schedule, training.weight_decay) == (1_000, "linear", 0.0)
    assert (training.tune, training.lora_rank, training.lora_alpha, training.lora_dropout) == ("lora", 8, 32, 0.05)
    assert (training.seed, training.eval_every) == (1234, 1_000)
    assert released.settings == DrcapSettings(contexts=3, band=(0.75, 0.85), redraw=False)
    assert released.prompt == ComposedPrompt()
    assert (released.mapper.kind, released.mapper.hidden) == ("relu", 2048)


def test_the_released_numbers_of_soft_and_hard_prompts() -> None:
    released = presets.paper("soft-hard", 49_274)
    training = released.training
    epoch = 49_274 // 40
    assert (training.steps, training.warmup_steps, training.batch_size) == (15 * epoch, 5 * epoch, 40)
    assert (training.learning_rate, training.schedule, training.tune, training.seed) == (1e-5, "linear", "all", 0)
    assert isinstance(released.settings, SoftHardSettings)
    assert (released.settings.neighbours, released.settings.mask) == (5, 0.4)
    assert released.prompt == SoftHardPrompt(labels=4, soft_slots=10, max_answer_tokens=25)
    assert released.mapper.kind == "mlp"


def test_our_own_numbers_know_the_size_of_things() -> None:
    for method in presets.METHODS:
        small = presets.own(method, 60_000, dim=256, parameters=4_000_000)
        large = presets.own(method, 60_000, dim=1024, parameters=7_000_000_000)
        assert (small.training.tune, large.training.tune) == ("all", "lora")
        assert small.training.steps == 2812
        assert presets.own(method, 10, dim=256, parameters=1).training.steps == 300
    drcap = [presets.own("drcap", 100, dim=dim, parameters=1).settings for dim in (256, 1024)]
    cosines = [1 / (1 + dim * s.noise_std_max**2) ** 0.5 for dim, s in zip((256, 1024), drcap, strict=True)]  # type: ignore[union-attr]
    assert abs(cosines[0] - cosines[1]) < 1e-3
