"""Frames are encoded once, whoever trains on them, and nobody waits for a dead process."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from nfd_env.cli.main import main as nfd
from tests.world_model.autoencoder.tiny import make_tokenizer
from world_model.autoencoder.cache import tokens_path
from world_model.autoencoder.storage import save_tokenizer
from world_model.autoencoder.tokenizer import AutoencoderTokenizer
from world_model.errors import ConfigError, StorageError
from world_model.tokenizer import PixelPatchConfig, PixelPatchTokenizer
from world_model.training import tokens
from world_model.training.distill import DistillCommand, run
from world_model.training.tokens import beating, cached_tokens, wait_for
from world_model.training.trainer import Trainer
from world_model.world import World

# -- distillation ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def teacher(bars, tmp_path_factory):
    """Folder of a barely trained world whose tokens are an autoencoder's."""
    folder = tmp_path_factory.mktemp("tokens")
    tokenizer = save_tokenizer(make_tokenizer(frame_shape=(16, 16, 3)), folder / "tokenizer", {})
    given = ["tiny", "--data", str(bars.root), "--out", str(folder / "run"), "--steps", "2"]
    given += ["--batch-size", "2", "--outcome.steps", "0", "--precision", "float32"]
    assert nfd(["train", *given, "--tokenizer", str(tokenizer)]) == 0
    return folder / "run" / "world"


@pytest.mark.slow
def test_distillation_encodes_every_frame_once(bars, teacher, tmp_path, monkeypatch):
    encoded, losses = [], []
    encode, train_step = AutoencoderTokenizer.encode, Trainer.train_step
    monkeypatch.setattr(
        AutoencoderTokenizer, "encode", lambda self, f: encoded.append(len(f)) or encode(self, f)
    )

    def note(self):
        report = train_step(self)
        losses.append(report.loss)
        return report

    monkeypatch.setattr(Trainer, "train_step", note)
    quick = DistillCommand(
        str(teacher), data=bars.root, out=tmp_path / "a", steps=3, batch_size=2, length=4,
        precision="float32",
    )  # fmt: skip
    run(quick)
    assert len(encoded) == 3, "without a cache, at every step"
    encoded.clear()
    run(replace(quick, out=tmp_path / "b", cache_tokens=True))
    assert sum(encoded) == bars.num_frames
    assert losses[3:] == pytest.approx(losses[:3], rel=2e-2)
    encoded.clear()
    run(replace(quick, out=tmp_path / "c", cache_tokens=True))
    assert encoded == []
    assert World.from_pretrained(tmp_path / "c" / "world").flow.makes_samples


def test_pixel_patches_are_not_cached(bars):
    tokenizer = PixelPatchTokenizer(PixelPatchConfig(frame_shape=(16, 16, 3)))
    with pytest.raises(ConfigError, match="--cache-tokens is for an autoencoder"):
        cached_tokens(bars, tokenizer, device="cpu", precision="float32")


# -- several processes -------------------------------------------------------------------------


def test_others_wait_for_as_long_as_the_first_lives(tmp_path):
    path = tmp_path / "tokens-0" / "tokens.npy"

    def encode():
        with beating(path, beat=0.05):
            time.sleep(1.0)
            path.parent.mkdir()
            path.touch()

    first = threading.Thread(target=encode)
    first.start()
    wait_for(path, beat=0.02, patience=0.4)  # shorter than the encoding takes
    first.join()
    assert [found.name for found in tmp_path.iterdir()] == ["tokens-0"]


def test_nobody_waits_for_a_dead_process(tmp_path):
    path = tmp_path / "tokens-0" / "tokens.npy"
    # What a process that was killed leaves behind is no life.
    (tmp_path / ".tokens-0.encoding").touch()
    start = time.monotonic()
    with pytest.raises(StorageError, match=r"tokens\.npy.*no sign of life.*disk that they share"):
        wait_for(path, beat=0.02, patience=0.2)
    assert time.monotonic() - start < 5
    with pytest.raises(RuntimeError, match="killed"), beating(path, beat=0.05):
        raise RuntimeError("killed")
    assert list(tmp_path.iterdir()) == []


def test_the_first_encodes_and_shows_its_life_and_the_others_give_up(bars, monkeypatch):
    tokenizer = make_tokenizer(seed=7, frame_shape=(16, 16, 3))
    monkeypatch.setattr(tokens, "BEAT", 0.02)
    monkeypatch.setattr(tokens, "PATIENCE", 0.1)
    monkeypatch.setenv("RANK", "1")
    given = {"device": "cpu", "precision": "float32"}
    with pytest.raises(StorageError, match="no sign of life"):
        cached_tokens(bars, tokenizer, **given)
    monkeypatch.setenv("RANK", "0")
    signs = []
    encode = AutoencoderTokenizer.encode

    def note(self, frames):
        signs.extend(bars.cache.glob(".tokens-*.encoding"))
        return encode(self, frames)

    monkeypatch.setattr(AutoencoderTokenizer, "encode", note)
    made = cached_tokens(bars, tokenizer, **given)
    assert signs
    assert not list(bars.cache.glob(".tokens-*.encoding"))
    assert tokens_path(bars, tokenizer).is_file()
    monkeypatch.setenv("RANK", "1")
    assert (cached_tokens(bars, tokenizer, **given) == made).all()
