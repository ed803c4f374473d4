from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sonogloss.captioners import ClapReference, DecodeSettings, ProjectionSettings, load_captioner, save_captioner
from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.prompts.composed import ComposedPrompt, compose_examples
from sonogloss.prompts.soft import Mapper, load_mapper
from sonogloss.records import FloatArray
from sonogloss.training.batches import collate, noisy
from sonogloss.training.config import PAPER, DrcapTrainingConfig
from sonogloss.training.corpus import Validation
from sonogloss.training.loop import TrainingRecord, train_drcap
from sonogloss.training.objective import answer_loss
from tests.language_models import SENTENCES, tiny_gpt2, tiny_llama, tiny_tokenizer

POCKET = ComposedPrompt(template="{prompt}", prompt="describe the audio you hear.", answer=" {answer}")
TOKENIZER = tiny_tokenizer()
CAPTIONS = SENTENCES[::13][:8]


def _unit(rows: int, seed: int) -> FloatArray:
    vectors = np.random.default_rng(seed).standard_normal((rows, 8)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


EMBEDDINGS = _unit(8, 1)
SHORT = DrcapTrainingConfig(
    steps=6,
    batch_size=4,
    learning_rate=1e-3,
    warmup_steps=2,
    grad_clip=1.0,
    band=(-0.9, 0.9),
    context_dropout=0.25,
    noise_std_max=0.1,
    checkpoint_every=3,
)


def _train(directory: Path, config: DrcapTrainingConfig, **changes: Any) -> tuple[TrainingRecord, Mapper]:
    torch.manual_seed(11)
    mapper = Mapper(8, 32, hidden=64)
    options: dict[str, Any] = {
        "captions": CAPTIONS,
        "caption_embeddings": EMBEDDINGS,
        "datastore_captions": SENTENCES[:20],
        "datastore_embeddings": _unit(20, 2),
        "language_model": tiny_gpt2(),
        "tokenizer": TOKENIZER,
        "mapper": mapper,
        "prompt": POCKET,
        "log": lambda line: None,
    }
    return train_drcap(config=config, directory=str(directory), **(options | changes)), mapper


def _weights(record: TrainingRecord, mapper: Mapper) -> dict[str, torch.Tensor]:
    return dict(record.language_model.state_dict()) | {f"mapper.{k}": v for k, v in mapper.state_dict().items()}


def _rows(directory: Path) -> list[dict[str, str]]:
    with (directory / "loss.csv").open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_eight_captions_are_learnt_by_heart_and_written_back(tmp_path: Path) -> None:
    config = DrcapTrainingConfig(
        steps=150,
        batch_size=8,
        learning_rate=1e-2,
        warmup_steps=10,
        schedule="cosine",
        grad_clip=1.0,
        context_dropout=1.0,
    )
    record, mapper = _train(tmp_path, config, language_model=tiny_gpt2(spread=0.02))
    assert float(_rows(tmp_path)[-1]["loss"]) < 0.1
    save_captioner(
        str(tmp_path / "captioner"),
        clap=ClapReference(name="none", fingerprint="", dim=8),
        language_model=record.language_model,
        tokenizer=TOKENIZER,
        mapper=mapper,
        prompt=POCKET,
        projection=ProjectionSettings(temperature=0.1, renormalise=True),
        decode=DecodeSettings(num_beams=2, max_new_tokens=30),
        training=record.as_json(),
    )
    captioner = load_captioner(str(tmp_path / "captioner"))
    assert captioner.caption(EMBEDDINGS, [[]] * 8) == CAPTIONS


@pytest.mark.parametrize("tune", ["all", "lora"])
def test_a_run_that_goes_on_equals_one_without_a_break_bit_by_bit(
    tmp_path: Path, tune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(SHORT, tune=tune, lora_dropout=0.1, redraw=True)
    whole, whole_mapper = _train(tmp_path / "whole", config)

    class PowerCutError(Exception):
        pass

    def cut_after(steps: int) -> Callable[..., torch.Tensor]:
        left = iter(range(steps))

        def loss(*args: Any, **options: Any) -> torch.Tensor:
            if next(left, None) is None:
                raise PowerCutError
            return answer_loss(*args, **options)

        return loss

    with monkeypatch.context() as patch:
        patch.setattr("sonogloss.training.loop.answer_loss", cut_after(4))
        with pytest.raises(PowerCutError):
            _train(tmp_path / "cut", config)
    resumed, resumed_mapper = _train(tmp_path / "cut", config, resume=True)
    expected, found = _weights(whole, whole_mapper), _weights(resumed, resumed_mapper)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert [(row["step"], row["loss"]) for row in _rows(tmp_path / "cut")] == [
        (row["step"], row["loss"]) for row in _rows(tmp_path / "whole")
    ]


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    _train(tmp_path, SHORT)
    with pytest.raises(OptionError, match="other settings or captions"):
        _train(tmp_path, replace(SHORT, learning_rate=2e-3), resume=True)
    with pytest.raises(OptionError, match="other settings or captions"):
        _train(tmp_path, SHORT, captions=CAPTIONS[::-1], resume=True)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(ModelFormatError, match="not a checkpoint"):
        _train(tmp_path, SHORT, resume=True)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(100))

    def loss(*args: Any, **options: Any) -> torch.Tensor:
        value = answer_loss(*args, **options)
        return value * float("nan") if next(calls) == 4 else value

    with monkeypatch.context() as patch:
        patch.setattr("sonogloss.training.loop.answer_loss", loss)
        with pytest.raises(OptionError, match="no longer finite at step 5"):
            _train(tmp_path, SHORT)
    assert [row["step"] for row in _rows(tmp_path)] == ["1", "2", "3", "4"]
    record, mapper = _train(tmp_path, SHORT, resume=True)
    assert all(torch.isfinite(value).all() for value in _weights(record, mapper).values())


def test_the_weights_of_the_best_validation_loss_remain(tmp_path: Path) -> None:
    config = replace(SHORT, steps=40, learning_rate=0.05, noise_std_max=0.0, eval_every=4)
    validation = Validation(captions=CAPTIONS[:4], embeddings=_unit(4, 9))
    record, _ = _train(tmp_path, config, validation=validation)
    measured = {int(r["step"]): float(r["validation_loss"]) for r in _rows(tmp_path) if r["validation_loss"]}
    assert len(measured) == 10
    assert record.best_step == min(measured, key=lambda step: measured[step])
    assert record.validation_loss == pytest.approx(min(measured.values()), abs=1e-6)


def test_what_is_not_to_learn_stays(tmp_path: Path) -> None:
    record, mapper = _train(tmp_path, replace(SHORT, tune="none"))
    before = tiny_gpt2().state_dict()
    assert all(torch.equal(before[name], value) for name, value in record.language_model.state_dict().items())
    torch.manual_seed(11)
    assert not torch.equal(mapper.linear1.weight, Mapper(8, 32, hidden=64).linear1.weight)


def test_bf16_learns_too(tmp_path: Path) -> None:
    record, _ = _train(tmp_path, replace(SHORT, steps=30, learning_rate=4e-3, precision="bf16"))
    rows = _rows(tmp_path)
    assert record.loss < float(rows[0]["loss"])


def test_the_global_generators_are_left_alone(tmp_path: Path) -> None:
    mapper, model = Mapper(8, 32), tiny_gpt2()
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    _ = train_drcap(
        captions=CAPTIONS,
        caption_embeddings=EMBEDDINGS,
        datastore_captions=[],
        datastore_embeddings=np.empty((0, 8), np.float32),
        language_model=model,
        tokenizer=TOKENIZER,
        mapper=mapper,
        prompt=POCKET,
        config=replace(SHORT, steps=3),
        directory=str(tmp_path),
        log=lambda line: None,
    )
    assert torch.equal(torch.rand(1), expected)


def test_captions_too_long_for_the_model_are_left_out_and_counted(tmp_path: Path) -> None:
    record, _ = _train(tmp_path, SHORT, captions=[*CAPTIONS, "a dog barks " * 100], caption_embeddings=_unit(9, 3))
    assert record.left_out == 1
    assert json.dumps(record.as_json())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"captions": []}, "no caption texts"),
        ({"captions": CAPTIONS[:5]}, "caption embeddings have shape"),
        ({"caption_embeddings": np.full((8, 8), np.nan, np.float32)}, "not finite"),
        ({"datastore_embeddings": np.zeros((20, 7), np.float32)}, "datastore embeddings have shape"),
        ({"mapper": Mapper(8, 16)}, "1 x 16"),
        ({"prompt": replace(POCKET, prompt="describe the audio you hear. ", answer="{answer}")}, "last token changes"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        _train(tmp_path, SHORT, **changes)


def test_the_released_settings() -> None:
    assert (PAPER.batch_size, PAPER.band, PAPER.noise_std_max, PAPER.context_dropout) == (4, (0.75, 0.85), 0.0, 0.0)
    assert PAPER.learning_rate_at(999) == pytest.approx(1e-5)
    assert PAPER.learning_rate_at(500) == pytest.approx(0.501e-5)
    assert PAPER.learning_rate_at(20_500) == pytest.approx(0.5e-5)
    assert PAPER.learning_rate_at(39_999) < 3e-10


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"band": (0.9, 0.8)}, {"warmup_steps": 6}, {"context_dropout": 1.5}])
def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        replace(SHORT, **wrong)


def test_the_remaining_cosine_is_what_the_width_of_the_noise_says() -> None:
    vectors = np.tile(np.eye(1, 64, dtype=np.float32), (4000, 1))
    blurred = noisy(vectors, 0.1, np.random.default_rng(0))
    assert np.linalg.norm(blurred, axis=1) == pytest.approx(np.ones(4000), abs=1e-5)
    widths = np.random.default_rng(1).uniform(0, 0.1, 4000)
    assert blurred[:, 0].mean() == pytest.approx((1 / np.sqrt(1 + 64 * widths**2)).mean(), abs=0.01)


@pytest.mark.parametrize("model", [tiny_gpt2(), tiny_llama()], ids=["gpt2", "llama"])
def test_the_loss_is_the_models_own(model: Any) -> None:
    """Computing logits at the answers only, without a mask, changes nothing."""
    mapper = Mapper(8, 32)
    examples = compose_examples([["a dog barks"], []], ["rain falls", "a bell rings nearby"], POCKET, TOKENIZER)
    batch = collate(examples, EMBEDDINGS[:2])
    losses, counts = [], []
    for i, example in enumerate(examples):
        alone = collate([example], EMBEDDINGS[i : i + 1])
        words = model.get_input_embeddings()(alone.ids)
        vectors = torch.where(alone.slots[..., None], mapper(alone.embeddings), words)
        logits = model(inputs_embeds=vectors, labels=torch.tensor([example.labels])).loss
        losses.append(logits.item())
        counts.append(len(alone.targets))
    expected = np.average(losses, weights=counts)
    assert answer_loss(model, mapper, batch).item() == pytest.approx(expected, rel=1e-5)


def test_the_golden_losses(shared_data: Path) -> None:
    directory = shared_data / "golden" / "drcap"
    if not directory.is_dir():
        pytest.skip("the golden DRCap cases are not beside this repository")
    model = AutoModelForCausalLM.from_pretrained(directory / "llm", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(directory / "llm")
    mapper = load_mapper(str(directory / "mapper.safetensors"))
    batches = json.loads((directory / "train_forward.json").read_text(encoding="utf-8"))["batches"]
    with np.load(directory / "train_forward.npz", allow_pickle=False) as arrays:
        for i, golden in enumerate(batches):
            prompt = ComposedPrompt(layout="captions_first" if golden["rag_first"] else "captions_in_prompt")
            rows = golden["rows"]
            examples = compose_examples(
                [row["similar_captions"] for row in rows], [row["target"] for row in rows], prompt, tokenizer
            )
            labels = [example.labels for example in examples]
            padded = [row + [-100] * (arrays[f"b{i}.labels"].shape[1] - len(row)) for row in labels]
            assert padded == arrays[f"b{i}.labels"].tolist()
            loss = answer_loss(model, mapper, collate(examples, arrays[f"b{i}.text_embeddings"]))
            assert loss.item() == pytest.approx(golden["loss"], rel=1e-5)
