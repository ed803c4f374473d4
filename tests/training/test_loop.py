from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recipes.caption_arrays import CaptionArrays
from sonogloss.errors import ModelFormatError, OptionError, OutputError
from sonogloss.methods import (
    ClapIdentity,
    DecodeSettings,
    NewCaptioner,
    ProjectionSettings,
    load_captioner,
    save_captioner,
)
from sonogloss.methods.drcap.method import DrcapSettings
from sonogloss.methods.mapper import Mapper
from sonogloss.training.batches import collate
from sonogloss.training.config import TrainingConfig
from sonogloss.training.loop import run_fingerprint, train
from sonogloss.training.objective import answer_losses
from tests.language_models import tiny_gpt2

from .conftest import (
    CAPTIONS,
    EMBEDDINGS,
    NAMES,
    POCKET,
    SHORT,
    TOKENIZER,
    PowerCutError,
    curve,
    drcap,
    run,
    soft_hard,
    unit,
    weights,
)


def test_eight_captions_are_memorized_and_generated_again(tmp_path: Path) -> None:
    config = TrainingConfig(
        steps=150,
        batch_size=8,
        learning_rate=1e-2,
        warmup_steps=10,
        schedule="cosine",
        grad_clip=1.0,
        precision="float32",
    )
    source = drcap(config, settings=DrcapSettings(context_dropout=1.0))
    record, mapper = run(tmp_path, config, source, language_model=tiny_gpt2(spread=0.02))
    assert float(curve(tmp_path)[-1]["loss"]) < 0.1
    assert isinstance(mapper, Mapper)
    save_captioner(
        str(tmp_path / "captioner"),
        NewCaptioner(
            clap=ClapIdentity(name="none", fingerprint="", dim=8),
            language_model=record.language_model,
            tokenizer=TOKENIZER,
            mapper=mapper,
            prompt=POCKET,
            projection=ProjectionSettings(temperature=0.1, renormalise=True),
            decode=DecodeSettings(num_beams=2, max_new_tokens=30),
            training=record.as_json(),
        ),
    )
    captioner = load_captioner(str(tmp_path / "captioner"))
    assert captioner.caption(EMBEDDINGS, [[]] * 8) == CAPTIONS


@pytest.mark.parametrize("method", [drcap, soft_hard])
@pytest.mark.parametrize("tune", ["all", "lora"])
def test_a_resumed_run_equals_one_without_a_break_bit_by_bit(
    tmp_path: Path, tune: Any, method: Callable[..., Any], power_cut: Callable[[int], None]
) -> None:
    config = replace(SHORT, tune=tune)
    whole = weights(*run(tmp_path / "whole", config, method(config)))
    power_cut(4)
    with pytest.raises(PowerCutError):
        run(tmp_path / "cut", config, method(config))
    power_cut(100)
    found = weights(*run(tmp_path / "cut", config, method(config), resume=True))
    assert whole.keys() == found.keys()
    assert all(torch.equal(whole[name], found[name]) for name in whole)
    assert [(row["step"], row["loss"]) for row in curve(tmp_path / "cut")] == [
        (row["step"], row["loss"]) for row in curve(tmp_path / "whole")
    ]


@pytest.mark.parametrize("method", [drcap, soft_hard])
def test_a_batch_in_parts_has_the_gradient_of_the_whole_batch(
    tmp_path: Path, method: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captions differ in length: the parts' means would not give the whole's mean."""
    clip, seen = torch.nn.utils.clip_grad_norm_, list[list[torch.Tensor]]()

    def watched(parameters: Any, limit: float) -> torch.Tensor:
        seen.append([parameter.grad.clone() for parameter in parameters])
        return clip(parameters, limit)

    monkeypatch.setattr("torch.nn.utils.clip_grad_norm_", watched)
    losses = []
    for accumulation in (1, 3, 7):
        config = replace(SHORT, batch_size=7, steps=1, warmup_steps=0, accumulation=accumulation)
        losses.append(run(tmp_path / str(accumulation), config, method(config))[0].loss)
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)
    for parted in seen[1:]:
        for whole, part in zip(seen[0], parted, strict=True):
            assert torch.allclose(whole, part, rtol=1e-4, atol=1e-5 * float(whole.abs().max()))


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    others = [
        (replace(SHORT, learning_rate=2e-3), None),
        (SHORT, drcap(captions=CaptionArrays(CAPTIONS[::-1], EMBEDDINGS))),
        (SHORT, drcap(settings=DrcapSettings())),
        (SHORT, soft_hard()),
    ]
    for config, source in others:
        with pytest.raises(OptionError, match="other settings or data"):
            run(tmp_path, config, source, resume=True)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(ModelFormatError, match="not a checkpoint"):
        run(tmp_path, resume=True)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    calls = iter(range(100))

    def losses(*args: Any, **options: Any) -> torch.Tensor:
        value = answer_losses(*args, **options)
        return value * float("nan") if next(calls) == 4 else value

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sonogloss.training.loop.answer_losses", losses)
        with pytest.raises(OptionError, match="no longer finite at step 5"):
            run(tmp_path)
    assert [row["step"] for row in curve(tmp_path)] == ["1", "2", "3", "4"]
    assert all(torch.isfinite(value).all() for value in weights(*run(tmp_path, resume=True)).values())


def test_a_full_disk_is_reported_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    run(tmp_path, replace(SHORT, steps=3))
    before = (tmp_path / "checkpoint.safetensors").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sonogloss.files.os.fsync", full)
        with pytest.raises(OutputError, match=r"loss.csv': No space left on device"):
            run(tmp_path)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.safetensors", "loss.csv"]


@pytest.mark.parametrize("method", [drcap, soft_hard])
def test_the_weights_of_the_best_validation_loss_remain(tmp_path: Path, method: Callable[..., Any]) -> None:
    config = replace(SHORT, steps=40, learning_rate=0.05, eval_every=4)
    record, _ = run(tmp_path, config, method(config, validation=CaptionArrays(CAPTIONS[:4], unit(4, 9))))
    measured = {int(r["step"]): float(r["validation_loss"]) for r in curve(tmp_path) if r["validation_loss"]}
    assert len(measured) == 10
    assert record.best_step == min(measured, key=lambda step: measured[step])
    assert record.validation_loss == pytest.approx(min(measured.values()), abs=1e-6)


def test_a_score_decides_against_the_validation_loss(tmp_path: Path) -> None:
    scores = iter([0.1, 0.7, 0.3])
    seen: list[torch.Tensor] = []

    def score(model: Any, mapper: Any) -> float:
        assert not model.training
        assert not mapper.training
        seen.append(mapper.linear1.weight.detach().clone())
        return next(scores)

    source = drcap(validation=CaptionArrays(CAPTIONS[:4], unit(4, 9)))
    record, mapper = run(tmp_path, replace(SHORT, eval_every=2), source, score=score)
    assert (record.best_step, record.score) == (4, pytest.approx(0.7))
    assert mapper is not None
    assert torch.equal(mapper.state_dict()["linear1.weight"], seen[1])
    assert [row["score"] for row in curve(tmp_path)][1::2] == ["0.100000", "0.700000", "0.300000"]


def test_what_is_not_to_learn_stays(tmp_path: Path) -> None:
    record, mapper = run(tmp_path, replace(SHORT, tune="none"))
    before = tiny_gpt2().state_dict()
    assert all(torch.equal(before[name], value) for name, value in record.language_model.state_dict().items())
    torch.manual_seed(11)
    assert mapper is not None
    assert not torch.equal(mapper.state_dict()["linear1.weight"], Mapper(8, 32, hidden=64).linear1.weight)


def test_a_hard_prompt_alone_needs_no_mapper(tmp_path: Path) -> None:
    config = replace(SHORT, steps=20, learning_rate=5e-3)
    record, mapper = run(tmp_path, config, soft_hard(config, prompt=replace(NAMES, soft=False)))
    assert mapper is None
    assert record.loss < float(curve(tmp_path)[0]["loss"])


def test_bf16_learns_too(tmp_path: Path) -> None:
    config = replace(SHORT, steps=30, learning_rate=4e-3, precision="bfloat16")
    record, _ = run(tmp_path, config)
    assert record.loss < float(curve(tmp_path)[0]["loss"])


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("tune", ["all", "lora"])
def test_half_precision_trains_and_resumes_on_a_gpu(
    tmp_path: Path, precision: Any, tune: Any, power_cut: Callable[[int], None]
) -> None:
    config = replace(SHORT, steps=30, learning_rate=4e-3, precision=precision, tune=tune, checkpoint_every=10)
    kind = torch.float32 if tune == "all" else getattr(torch, precision)
    record, _ = run(tmp_path / "whole", config, language_model=tiny_gpt2().to("cuda", kind))
    losses = [float(row["loss"]) for row in curve(tmp_path / "whole")]
    assert record.loss < losses[0]
    power_cut(14)
    with pytest.raises(PowerCutError):
        run(tmp_path / "cut", config, language_model=tiny_gpt2().to("cuda", kind))
    power_cut(1000)
    again, _ = run(tmp_path / "cut", config, language_model=tiny_gpt2().to("cuda", kind), resume=True)
    assert again.loss == pytest.approx(record.loss, rel=0.02)


def test_the_global_generators_are_left_alone(tmp_path: Path) -> None:
    mapper, model, source = Mapper(8, 32), tiny_gpt2(), drcap(datastore=CaptionArrays([], np.empty((0, 8), np.float32)))
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    train(source, language_model=model, mapper=mapper, config=SHORT, directory=str(tmp_path), log=lambda line: None)
    assert torch.equal(torch.rand(1), expected)


def test_captions_too_long_for_the_model_are_left_out_and_counted(tmp_path: Path) -> None:
    captions = CaptionArrays([*CAPTIONS, "a dog barks " * 100], unit(9, 3))
    record, _ = run(tmp_path, source=drcap(captions=captions))
    assert record.left_out == 1
    assert json.dumps(record.as_json())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mapper": Mapper(8, 16)}, "1 x 16"),
        ({"mapper": Mapper(7, 32)}, "8 dimensions and the mapper takes 7"),
        ({"mapper": None}, "no mapper for 1 audio slots"),
        ({"config": replace(SHORT, precision="float16")}, "does not train in"),
        ({"config": replace(SHORT, tune="lora", lora_targets=("c_atn",))}, "nothing called c_atn"),
        ({"config": replace(SHORT, tune="lora", lora_targets=("lm_head",))}, "nothing called lm_head"),
        ({"language_model": tiny_gpt2().bfloat16()}, "language model are torch.bfloat16"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    config = changes.pop("config", SHORT)
    with pytest.raises(OptionError, match=message):
        run(tmp_path, config, **changes)


def test_a_tokenizer_with_more_words_than_the_model_is_refused(tmp_path: Path) -> None:
    model = tiny_gpt2()
    model.resize_token_embeddings(300)
    with pytest.raises(ModelFormatError, match="320 tokens and the language model 300"):
        run(tmp_path, language_model=model)


@pytest.mark.parametrize("stop", range(1, 6))
def test_a_run_stopped_after_any_step_ends_and_reports_like_a_whole_one(
    tmp_path: Path, stop: int, power_cut: Callable[[int], None]
) -> None:
    """With validation: best weights, record and curve are those of the run without a break."""
    config = replace(SHORT, eval_every=2, checkpoint_every=1, learning_rate=0.05)
    held_out = CaptionArrays(CAPTIONS[:4], unit(4, 9))
    whole = run(tmp_path / "whole", config, drcap(config, validation=held_out))
    power_cut(stop + (stop - 1) // 2)  # losses are computed in every step, and in every second one for the validation
    with pytest.raises(PowerCutError):
        run(tmp_path / "cut", config, drcap(config, validation=held_out))
    power_cut(1000)
    resumed = run(tmp_path / "cut", config, drcap(config, validation=held_out), resume=True)
    expected, found = weights(*whole), weights(*resumed)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    records = [{**record.as_json(), "seconds": 0} for record, _ in (whole, resumed)]
    assert records[0] == records[1]
    curves = [[{**row, "samples_per_s": ""} for row in curve(tmp_path / name)] for name in ("whole", "cut")]
    assert curves[0] == curves[1]


def test_a_finished_run_that_resumes_has_nothing_to_do(tmp_path: Path) -> None:
    config = replace(SHORT, eval_every=2)
    held_out = CaptionArrays(CAPTIONS[:4], unit(4, 9))
    first = run(tmp_path, config, drcap(config, validation=held_out))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again = run(tmp_path, config, drcap(config, validation=held_out), resume=True)
    assert all(torch.equal(weights(*first)[name], tensor) for name, tensor in weights(*again).items())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_is_printed_is_what_the_curve_has(tmp_path: Path) -> None:
    lines: list[str] = []
    source = drcap(validation=CaptionArrays(CAPTIONS[:4], unit(4, 9)))
    record, mapper = run(tmp_path, SHORT, source, log=lines.append)
    assert mapper is not None
    count = sum(p.numel() for p in [*record.language_model.parameters(), *mapper.parameters()])
    assert lines[0] == f"precision float32, device cpu, 6 steps, {count:,} trainable parameters"
    last, rows = lines[-1], curve(tmp_path)
    mean = np.mean([float(row["loss"]) for row in rows])
    loss, validation_loss = rows[-1]["loss"], rows[-1]["validation_loss"]
    assert last.startswith(f"step 6 of 6: loss {loss}, validation loss {validation_loss}, ")
    assert last.endswith(" samples/s, 0:00:00 left")
    assert record.loss == pytest.approx(mean, abs=1e-6)


def test_auto_is_reported_and_recorded_as_what_it_became(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonogloss.training.precision._has_fast_bfloat16", lambda kind: False)
    lines: list[str] = []
    record, _ = run(tmp_path, replace(SHORT, precision="auto"), log=lines.append)
    assert lines[0].startswith("precision float32 (auto: this CPU has no fast bfloat16), device cpu, 6 steps")
    assert record.config.precision == "float32"
    # On hardware that has it the same options are another run; a named float32 is the same one.
    run(tmp_path, SHORT, resume=True)
    monkeypatch.setattr("sonogloss.training.precision._has_fast_bfloat16", lambda kind: True)
    with pytest.raises(OptionError, match="other settings"):
        run(tmp_path, replace(SHORT, precision="auto"), resume=True)


def test_digests_spell_a_precision_as_the_first_release_did() -> None:
    """Else its checkpoints could not be resumed."""
    source = drcap()
    for name, old in (("float32", "fp32"), ("bfloat16", "bf16"), ("float16", "fp16")):
        digest = run_fingerprint(source, replace(SHORT, precision=name), validates=False)  # type: ignore[arg-type]
        assert f"precision='{old}'" in digest
        assert name not in digest


def test_settings_that_shape_no_weight_do_not_part_runs() -> None:
    source = drcap()
    plain = run_fingerprint(source, SHORT, validates=False)
    assert run_fingerprint(source, replace(SHORT, checkpoint_every=1, eval_every=2), validates=False) == plain
    with_validation = run_fingerprint(source, SHORT, validates=True)
    assert run_fingerprint(source, replace(SHORT, eval_every=2), validates=True) != with_validation
    changes: list[dict[str, Any]] = [
        {"steps": 7}, {"batch_size": 8}, {"schedule": "cosine"}, {"seed": 1}, {"tune": "lora"}, {"weight_decay": 0.1}
    ]  # fmt: skip
    others = {run_fingerprint(source, replace(SHORT, **change), validates=False) for change in changes}
    assert len(others | {plain}) == len(changes) + 1


def test_a_validation_is_due_every_so_many_steps_and_at_the_end(tmp_path: Path) -> None:
    config = replace(SHORT, steps=7, eval_every=3)
    run(tmp_path, config, drcap(config, validation=CaptionArrays(CAPTIONS[:2], unit(2, 9))))
    assert [row["step"] for row in curve(tmp_path) if row["validation_loss"]] == ["3", "6", "7"]
    assert all(row["score"] == "" for row in curve(tmp_path))


def test_the_validation_loss_is_the_mean_over_all_tokens(tmp_path: Path) -> None:
    """Batches of unequal size count by their tokens."""
    config = replace(SHORT, steps=1, warmup_steps=0, learning_rate=1e-12, eval_every=1, batch_size=2)
    source = drcap(config, validation=CaptionArrays(CAPTIONS[:5], unit(5, 9)))
    record, mapper = run(tmp_path, config, source)
    held_out = source.held_out()
    assert [len(batch.sequences) for batch in held_out] == [2, 2, 1]
    with torch.no_grad():
        losses = torch.cat([answer_losses(record.language_model, mapper, collate(batch)) for batch in held_out])
    assert record.validation_loss == pytest.approx(losses.mean().item(), rel=1e-5)


def test_learning_rates_of_the_curve_are_those_of_the_schedule(tmp_path: Path) -> None:
    run(tmp_path)
    rates = [row["lr"] for row in curve(tmp_path)]
    assert rates == [f"{SHORT.learning_rate_at(step):.4e}" for step in range(6)]
    assert rates[1] == "1.0000e-03"
