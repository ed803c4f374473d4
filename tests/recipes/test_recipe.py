from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.pocket.contrastive import contrastive_loss
from recipes.pocket.mixing import Mixed, Mixer, also_true, to_decibels
from recipes.pocket.pool import Entry, Pool, build_pool, mel_power
from recipes.pocket.recipe import PocketRecipe, feature_extractor, train_tokenizer
from sonogloss.audio.mel import LogMel, MelSettings
from sonogloss.soundscapes import CLASSES, caption_dump, mentioned, render_variant
from sonogloss.soundscapes.scenes import Event, Scene

RECIPE = PocketRecipe(variants=1, clap_batch=16, clap_steps=4, clap_warmup=1)


@pytest.fixture(scope="module")
def pool_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pool")
    build_pool(directory, RECIPE, None)
    return directory


def mixed(name: str, traits: set[str], *, unknown: bool = False, kind: str = "one") -> Mixed:
    event = Event(name=name, start_s=0.0, end_s=1.0, gain_db=0.0, traits=frozenset(traits), seed=0)
    scene = Scene(kind=kind, events=(event,), duration_s=1.0, seed=0)
    return Mixed(power=np.ones((2, 64), np.float32), scene=scene, unknown=(unknown,))


def test_mel_power_of_the_pool_is_what_the_front_end_sees() -> None:
    samples, _ = render_variant("siren", 3, 5.0)  # five seconds: the front end lays two copies end to end
    settings = MelSettings.from_preprocessor(feature_extractor().to_dict())
    seen = LogMel(settings)([samples])[:, 0]
    stretched = torch.nn.functional.interpolate(seen.mT, size=1024, mode="linear", align_corners=True).mT[0].numpy()
    ours = to_decibels(mel_power(samples))
    loud = stretched > stretched.max() - 50
    assert np.abs(ours - stretched)[loud].mean() < 1.0  # decibels


def test_sounds_add_as_powers() -> None:
    one, two = render_variant("dog", 1, 3.0)[0], render_variant("rain", 2, 3.0)[0]
    together, apart = mel_power(one + two), mel_power(one) + mel_power(two)
    assert np.abs(10 * np.log10(together / apart)).mean() < 2.0  # decibels: phases differ, powers hardly


def test_pool_holds_every_class_and_batches_depend_on_the_step_alone(pool_dir: Path) -> None:
    pool = Pool(pool_dir)
    assert all(len(entries) == RECIPE.variants for entries in pool.synthetic.values())
    assert not pool.has_real
    first, again, other = (Mixer(pool, RECIPE).batch(step) for step in (5, 5, 6))
    assert first.mels.shape == (16, 1, 1024, 64)
    assert np.isfinite(first.mels.astype(np.float32)).all()
    assert np.array_equal(first.mels, again.mels)
    assert first.captions == again.captions
    assert first.captions != other.captions
    assert first.also_true.diagonal().all()


def test_captions_of_a_batch_name_what_was_mixed(pool_dir: Path) -> None:
    mixer, rng = Mixer(Pool(pool_dir), RECIPE), np.random.default_rng(0)
    for _ in range(50):
        m = mixer.mix(rng)
        text, _ = mixer._caption(m.scene, rng)
        assert mentioned(text) == frozenset(m.scene.names)


def test_real_clips_take_their_share_where_there_are_any(pool_dir: Path) -> None:
    pool = Pool(pool_dir)
    pool.real["dog"] = [Entry(name="dog", start=0, frames=100, traits=None)]
    mixer, rng = Mixer(pool, RECIPE), np.random.default_rng(0)
    drawn = [mixer._pick(rng, "dog").traits is None for _ in range(300)]
    assert 0.5 < np.mean(drawn) < 0.7


def test_a_caption_is_no_negative_where_it_is_true() -> None:
    scenes = [
        mixed("dog", {"low", "twice"}),
        mixed("dog", {"high"}),
        mixed("dog", set(), unknown=True),
        mixed("cat", set()),
    ]
    told = ((frozenset({"low"}),), (frozenset(),), (frozenset({"near"}),), (frozenset(),))
    assert also_true(scenes, told).tolist() == [
        [True, True, False, False],  # it is low; a plain caption fits; nobody said it was near
        [False, True, False, False],
        [True, True, False, False],  # a real clip may well be low
        [False, False, False, True],
    ]


def test_loss_is_symmetric_infonce_without_the_pairs_that_are_no_negatives() -> None:
    torch.manual_seed(0)
    audio, text = (torch.nn.functional.normalize(torch.randn(4, 8), dim=1) for _ in range(2))
    scale = torch.tensor(2.0)
    logits = scale.exp() * audio @ text.T
    target = torch.arange(4)
    plain = (
        torch.nn.functional.cross_entropy(logits, target) + torch.nn.functional.cross_entropy(logits.T, target)
    ) / 2
    assert torch.allclose(contrastive_loss(audio, text, scale, torch.eye(4, dtype=torch.bool)), plain)
    also = torch.eye(4, dtype=torch.bool)
    also[0, 1] = True
    kept = logits.clone()
    kept[0, 1] = -torch.inf
    rows = torch.logsumexp(kept, 1) - kept.diagonal()
    columns = torch.logsumexp(kept, 0) - kept.diagonal()
    expected = (rows.mean() + columns.mean()) / 2
    assert torch.allclose(contrastive_loss(audio, text, scale, also), expected)


def test_tokenizer_has_the_layout_the_text_tower_needs() -> None:
    tokenizer = train_tokenizer([*caption_dump(300, 0), *(sound.label for sound in CLASSES.values())])
    ids = tokenizer("A Dog barks")["input_ids"]
    assert (ids[0], ids[-1], tokenizer.pad_token_id) == (0, 2, 1)
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == "a dog barks"
    assert tokenizer.decode(tokenizer("grüße 犬")["input_ids"], skip_special_tokens=True).strip() == "grüße 犬"


@pytest.mark.slow
def test_interrupted_training_goes_on_as_if_it_had_not_been(pool_dir: Path, tmp_path: Path) -> None:
    from recipes.pocket.contrastive import train_clap

    tokenizer = train_tokenizer(caption_dump(300, 0))
    weights = []
    for name, interrupted in (("whole", False), ("halves", True)):
        directory = tmp_path / name
        directory.mkdir()
        (directory / "pool").symlink_to(pool_dir)
        if interrupted:

            def stop(model: object) -> dict[str, float]:
                raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                train_clap(directory, RECIPE, tokenizer, stop, validate_every=2)
        train_clap(directory, RECIPE, tokenizer, lambda model: {"r1": 0.0}, validate_every=2)
        weights.append((directory / "clap" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
