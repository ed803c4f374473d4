"""Post-training moves what it should, resumes to the bit, and leaves an ordinary CLAP directory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import ClapModel

from sonogloss.clap import load_clap
from sonogloss.errors import OptionError
from sonogloss.temporal import post_train as room
from sonogloss.temporal.batches import PairBatches
from sonogloss.temporal.config import PostTrainConfig, TnceSettings
from sonogloss.temporal.features import ClipPowers
from sonogloss.temporal.losses import tnce
from sonogloss.temporal.objective import stage_loss
from sonogloss.temporal.post_train import PostTrainRecord, clap_card, post_train
from sonogloss.temporal.towers import POSITIONS, Towers, unit
from sonogloss.training.curve import CURVE, PICTURE, draw_curve, read_table

Weights = dict[str, torch.Tensor]


def config(**changes: Any) -> PostTrainConfig:
    values = {"steps": 3, "groups": 4, "warmup_steps": 1, "eval_every": 2, "checkpoint_every": 2}
    return PostTrainConfig(**{**values, "validation_share": 0.3, **changes})


def weights(towers: Towers) -> Weights:
    return {name: tensor.clone() for name, tensor in towers.model.state_dict().items()}


def trained(
    clap: Path, powers: ClipPowers, directory: Path, chosen: PostTrainConfig, *, resume: bool = False
) -> tuple[Towers, PostTrainRecord]:
    towers = Towers(str(clap), chosen)
    return towers, post_train(towers, powers, chosen, str(directory), resume=resume, log=lambda line: None)


def test_only_last_layers_and_projections_move_and_batch_norm_stays(
    tiny_clap_dir: Path, powers: ClipPowers, tmp_path: Path
) -> None:
    before = weights(Towers(str(tiny_clap_dir), config()))
    towers, record = trained(tiny_clap_dir, powers, tmp_path, config())
    moved = {name for name, tensor in weights(towers).items() if not torch.equal(tensor, before[name])}
    allowed = ("audio_model.audio_encoder.layers.1.", "audio_model.audio_encoder.norm.", "audio_projection.")
    allowed += ("text_model.encoder.layer.0.", "text_model.pooler.", "text_projection.")
    assert {prefix for prefix in allowed if any(name.startswith(prefix) for name in moved)} == set(allowed)
    assert all(name.startswith(allowed) for name in moved)
    assert not any("batch_norm" in name or "logit_scale" in name for name in moved)
    assert record.clips + record.validation_clips == len(powers)
    assert set(record.losses) == {"A", "B"}
    assert all(np.isfinite(loss) for loss in record.losses.values())


def test_position_biases_learn_at_a_rate_of_their_own(tiny_clap_dir: Path, powers: ClipPowers, tmp_path: Path) -> None:
    before = weights(Towers(str(tiny_clap_dir), config()))

    def moved(rate: float) -> dict[bool, float]:
        chosen = config(stages=("B",), steps=1, position_rate=rate)
        after = weights(trained(tiny_clap_dir, powers, tmp_path / str(rate), chosen)[0])
        largest = {True: 0.0, False: 0.0}
        for name in after:
            change = float((after[name].float() - before[name].float()).abs().max())
            largest[POSITIONS in name] = max(largest[POSITIONS in name], change)
        return largest

    slow, fast = moved(1.0), moved(50.0)
    assert fast[True] == pytest.approx(50 * slow[True], rel=1e-3)
    assert fast[False] == pytest.approx(slow[False], rel=1e-3)


def test_sentences_are_compared_with_the_same_in_other_words(tiny_clap_dir: Path, powers: ClipPowers) -> None:
    towers = Towers(str(tiny_clap_dir), config())
    towers.eval()
    batch = PairBatches("B", powers, powers.clips, towers.mel, config()).at(0)
    assert sum(one != other for one, other in zip(batch.texts, batch.paraphrases, strict=True)) > 6
    with torch.no_grad():
        alone, both = (float(stage_loss("B", towers, batch, config(words=words))) for words in (0.0, 0.5))
        one, other = (unit(towers.embed_text(texts)) for texts in (batch.texts, batch.paraphrases))
        words = tnce(one, other, blocks=3, settings=TnceSettings(), scale=towers.scale, also_true=batch.also_true)
        assert both == pytest.approx(alone + 0.5 * float(words), rel=1e-5)
        first = PairBatches("A", powers, powers.clips, towers.mel, config()).at(0)
        losses = [float(stage_loss("A", towers, first, config(words=words))) for words in (0.0, 0.5)]
    assert losses[0] == losses[1]  # stage A is about how many, and has one wording


def test_the_loss_falls(tiny_clap_dir: Path, powers: ClipPowers, tmp_path: Path) -> None:
    trained(tiny_clap_dir, powers, tmp_path, config(stages=("A",), steps=12, learning_rate=3e-3))
    losses = [float(row.split(",")[2]) for row in (tmp_path / CURVE).read_text().splitlines()[1:]]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_a_run_interrupted_at_any_step_of_any_stage_ends_with_the_same_bits(
    tiny_clap_dir: Path, powers: ClipPowers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, curve and record; a checkpoint after every second step, a validation in between."""
    chosen = config(steps=3, groups=2, eval_every=3, checkpoint_every=2, validation_share=0.2, words=0.0)
    whole, record = trained(tiny_clap_dir, powers, tmp_path / "whole", chosen)

    def rows(folder: Path) -> list[list[str]]:
        return [row.split(",")[:6] for row in (folder / CURVE).read_text().splitlines()]  # the speed varies

    computed = room.stage_loss
    resumed_after = {1: (0, 0), 2: (2, 0), 3: (3, 0), 4: (3, 0), 5: (3, 2)}
    for stop, steps in resumed_after.items():
        calls = iter(range(stop))

        def interrupted(*args: Any, calls: Any = calls, **options: Any) -> torch.Tensor:
            if next(calls, None) is None:
                raise KeyboardInterrupt
            return computed(*args, **options)

        folder = tmp_path / str(stop)
        with monkeypatch.context() as patch:
            patch.setattr(room, "stage_loss", interrupted)
            with pytest.raises(KeyboardInterrupt):
                trained(tiny_clap_dir, powers, folder, chosen)
        lines: list[str] = []
        towers = Towers(str(tiny_clap_dir), chosen)
        again = post_train(towers, powers, chosen, str(folder), resume=True, log=lines.append)
        assert [line for line in lines if "resuming" in line] == [
            f"stage {stage}: resuming after step {step}" for stage, step in zip("AB", steps, strict=True) if step
        ]
        for name, tensor in weights(whole).items():
            assert torch.equal(tensor, weights(towers)[name]), (stop, name)
        assert rows(folder) == rows(tmp_path / "whole")
        assert {**again.as_json(), "seconds": 0} == {**record.as_json(), "seconds": 0}


def test_the_record_has_the_curve_s_numbers(tiny_clap_dir: Path, powers: ClipPowers, tmp_path: Path) -> None:
    lines: list[str] = []
    chosen = config(precision="float32")
    towers = Towers(str(tiny_clap_dir), chosen)
    record = post_train(towers, powers, chosen, str(tmp_path), log=lines.append)
    rows = read_table(str(tmp_path / CURVE))
    for stage in "AB":
        losses = [float(row["loss"]) for row in rows if row["stage"] == stage]
        assert record.losses[stage] == pytest.approx(np.mean(losses), abs=1e-6)
    assert record.validation_order == float(rows[-1]["validation_order"])
    assert lines[0] == "precision float32, device cpu, 3 steps a stage"
    assert lines[-1].startswith(f"step 3 of 3: stage B, loss {rows[-1]['loss']}, validation loss ")
    assert f"validation order {rows[-1]['validation_order']}, " in lines[-1]
    assert lines[-1].endswith(" sounds/s, 0:00:00 left")
    rates = [row["lr"] for row in rows if row["stage"] == "A"]
    assert rates == [f"{chosen.learning_rate_at(step):.4e}" for step in range(3)]


def test_precision_does_not_part_runs_that_compute_the_same(
    tiny_clap_dir: Path, powers: ClipPowers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sonogloss.training.precision._has_fast_bfloat16", lambda kind: False)
    _, record = trained(tiny_clap_dir, powers, tmp_path, config(stages=("B",), precision="auto"))
    assert record.config.precision == "float32"
    trained(tiny_clap_dir, powers, tmp_path, config(stages=("B",), precision="float32"), resume=True)
    with pytest.raises(OptionError, match="other settings"):
        trained(tiny_clap_dir, powers, tmp_path, config(stages=("B",), precision="bfloat16"), resume=True)


def test_a_loss_that_is_not_finite_stops_the_stage_and_keeps_the_checkpoint(
    tiny_clap_dir: Path, powers: ClipPowers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed, calls = room.stage_loss, iter(range(100))

    def broken(*args: Any, **options: Any) -> torch.Tensor:
        loss = computed(*args, **options)
        return loss * float("nan") if next(calls) == 2 else loss

    monkeypatch.setattr(room, "stage_loss", broken)
    with pytest.raises(OptionError, match=r"no longer finite at step 3; '.*/A' keeps the last checkpoint"):
        trained(tiny_clap_dir, powers, tmp_path, config(stages=("A",)))
    assert [row["step"] for row in read_table(str(tmp_path / CURVE))] == ["1", "2"]
    assert (tmp_path / "A" / "checkpoint.safetensors").exists()


def test_a_checkpoint_of_another_run_is_refused(tiny_clap_dir: Path, powers: ClipPowers, tmp_path: Path) -> None:
    trained(tiny_clap_dir, powers, tmp_path, config(stages=("A",)))
    with pytest.raises(OptionError, match="other settings"):
        trained(tiny_clap_dir, powers, tmp_path, config(stages=("A",), learning_rate=5e-4), resume=True)


@pytest.mark.parametrize("tune", ["last", "lora"])
def test_the_result_is_an_ordinary_clap(tiny_clap_dir: Path, powers: ClipPowers, tmp_path: Path, tune: str) -> None:
    towers, record = trained(tiny_clap_dir, powers, tmp_path / "training", config(stages=("B",), tune=tune))
    base = load_clap(str(tiny_clap_dir))
    sound = (0.1 * np.random.default_rng(0).standard_normal(64000)).astype(np.float32)
    expected = towers.clap.embed_audio([sound]), towers.clap.embed_text(["dog before rain"])
    towers.save(str(tmp_path / "new"), clap_card({"name": "tiny", "fingerprint": base.fingerprint}, ["here"], record))
    new = load_clap(str(tmp_path / "new"))
    np.testing.assert_allclose(new.embed_audio([sound]), expected[0], atol=1e-6)
    np.testing.assert_allclose(new.embed_text(["dog before rain"]), expected[1], atol=1e-6)
    assert new.fingerprint != base.fingerprint
    assert new.temperature == base.temperature
    assert not np.allclose(new.embed_audio([sound]), base.embed_audio([sound]), atol=1e-5)
    assert (tmp_path / "new" / "tokenizer.json").read_bytes() == (tiny_clap_dir / "tokenizer.json").read_bytes()
    card = (tmp_path / "new" / "README.md").read_text()
    assert "`tiny`" in card
    assert "`here`" in card


def test_the_released_loss_and_the_anchor_run(tiny_clap_dir: Path, powers: ClipPowers, tmp_path: Path) -> None:
    for number, chosen in enumerate(
        [
            config(stages=("B",), loss=TnceSettings(released=True)),
            config(stages=("B",), anchor=1.0, precision="bfloat16"),
        ]
    ):
        _, record = trained(tiny_clap_dir, powers, tmp_path / str(number), chosen)
        assert np.isfinite(record.losses["B"])


def test_without_validation_clips_nothing_is_claimed(tiny_clap_dir: Path, powers: ClipPowers, tmp_path: Path) -> None:
    _, record = trained(tiny_clap_dir, powers, tmp_path, config(stages=("B",), validation_share=0.0))
    assert record.validation_order is None
    assert "nothing is known" in clap_card({"name": "tiny", "fingerprint": "0" * 64}, ["here"], record)


def test_the_curve_is_drawn(tiny_clap_dir: Path, powers: ClipPowers, tmp_path: Path) -> None:
    trained(tiny_clap_dir, powers, tmp_path, config())
    draw_curve(str(tmp_path), title="tiny", unit="nats", score="validation_order")
    assert (tmp_path / PICTURE).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "bad", [{"stages": ("B", "A")}, {"stages": ()}, {"stages": ("C",)}, {"steps": 0}, {"groups": 1}, {"layers": 0}]
)
def test_the_configuration_is_checked(bad: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(bad))):
        PostTrainConfig(**bad)


def test_the_rate_rises_and_falls() -> None:
    chosen = PostTrainConfig(steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [chosen.learning_rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.01


def test_towers_open_and_save_the_forms_in_which_claps_come(tiny_clap_dir: Path, tmp_path: Path) -> None:
    """Preprocessing values as transformers 5 saves them, half-precision weights in a file of torch.save."""
    base = Path(shutil.copytree(tiny_clap_dir, tmp_path / "base"))
    values = json.loads((base / "preprocessor_config.json").read_text())
    (base / "preprocessor_config.json").unlink()
    (base / "processor_config.json").write_text(json.dumps({"feature_extractor": values}))
    torch.save(ClapModel.from_pretrained(base).half().state_dict(), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    towers = Towers(str(base), config())
    towers.save(str(tmp_path / "new"), "a card")
    assert {tensor.dtype for tensor in load_file(tmp_path / "new" / "model.safetensors").values()} >= {torch.float16}
    new, old = load_clap(str(tmp_path / "new")), load_clap(str(base))
    np.testing.assert_array_equal(new.embed_text(["dog before rain"]), old.embed_text(["dog before rain"]))
