"""``nfd tokenizer`` from end to end, and worlds that are trained on its result."""

from __future__ import annotations

import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

import nfd_env  # noqa: F401  (registers the environment)
from nfd_env.cli.main import main as nfd
from tests.world_model.autoencoder.tiny import make_tokenizer
from tests.world_model.data.films import make_films
from world_model.autoencoder.cache import open_tokens
from world_model.autoencoder.storage import load_tokenizer, save_tokenizer
from world_model.autoencoder.tokenizer import AutoencoderTokenizer
from world_model.data.images import decode_image
from world_model.errors import ConfigError, DataError
from world_model.flow import flow_loss
from world_model.network import NextFrameDiffusion
from world_model.precision import autocast
from world_model.presets import PRESETS, get_preset, with_autoencoder
from world_model.training import command, tokenizer_command
from world_model.training.tokens import cached_tokens
from world_model.world import World

QUICK = [
    *("--downsampling", "8", "--latent-channels", "4", "--patch-size", "1"),
    *("--width", "8", "--blocks", "1", "--steps", "6", "--batch-size", "4"),
    *("--learning-rate", "3e-3", "--report-frames", "20", "--precision", "float32"),
]
TRAIN = ["--steps", "2", "--batch-size", "2", "--outcome.steps", "0", "--precision", "float32"]


@pytest.fixture(scope="module")
def finished(bars, tmp_path_factory):
    """Folder of a finished run."""
    folder = tmp_path_factory.mktemp("tokenizer") / "run"
    given = [str(bars.root), "--out", str(folder), *QUICK, "--sample-every", "3"]
    assert nfd(["tokenizer", *given]) == 0
    return folder


def test_what_a_run_leaves(finished, bars):
    tokenizer = load_tokenizer(finished)
    assert tokenizer.config.frame_shape == bars.frame_shape
    assert tokenizer.grid == (2, 2)
    tokens = tokenizer.encode(torch.from_numpy(np.array(bars.frames[:200])))
    assert tokens.std().item() == pytest.approx(1, abs=0.1)
    report = json.loads((finished / "report.json").read_text())
    assert report["held_out"]["frames"] == 20
    assert report["held_out"]["psnr"] > 5
    assert report["trained"]["steps"] == 6
    assert report["trained"]["data"] == bars.content_hash
    assert decode_image((finished / "report.png").read_bytes()).shape == (3 * 18, 4 * 18, 3)
    assert [path.name for path in sorted((finished / "samples").iterdir())] == [
        "step-0000003.png",
        "step-0000006.png",
    ]
    assert json.loads((finished / "cost.json").read_text())["loss"] == "reconstruction"
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert {"psnr", "ssim", "bits_per_number"} <= lines[0].keys()


def test_the_report_is_printed_and_the_same_command_changes_nothing(finished, bars, capsys):
    before = (finished / "tokenizer" / "config.json").read_text()
    given = [str(bars.root), "--out", str(finished), *QUICK, "--sample-every", "3"]
    assert nfd(["tokenizer", *given]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(finished / "tokenizer")
    for words in ("PSNR, dB", "SSIM", "bits a number of the latents"):
        assert words in captured.err
    assert (finished / "tokenizer" / "config.json").read_text() == before


@pytest.mark.slow
def test_video_is_learned_at_the_size_that_is_asked_for(tmp_path, capsys):
    data = make_films(tmp_path / "set", [12] * 8, shard_episodes=4)  # frames of 96 x 160 pixels
    given = [str(data), "--out", str(tmp_path / "run"), *QUICK, "--frame-size", "16", "24"]
    assert nfd(["tokenizer", *given]) == 0
    tokenizer = load_tokenizer(tmp_path / "run")
    assert tokenizer.config.frame_shape == (16, 24, 3)
    assert tokenizer.grid == (2, 3)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["trained"]["source"]["resized_from"] == [96, 160, 3]
    # A size that tokens do not divide.
    assert nfd(["tokenizer", *given[:-2], "20", "24", "--out", str(tmp_path / "other")]) == 1
    assert "20x24 pixels do not divide" in " ".join(capsys.readouterr().err.split())


def test_a_signal_saves_and_the_same_command_goes_on(bars, tmp_path, monkeypatch, capsys):
    given = [str(bars.root), "--out", str(tmp_path / "run"), *QUICK]
    trainer = tokenizer_command.AutoencoderTrainer
    train_step = trainer.train_step

    def signalled(self):
        if self.state.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "train_step", signalled)
        assert tokenizer_command.main(given) == 130
    assert "Interrupted; the checkpoint is saved" in capsys.readouterr().err
    assert not (tmp_path / "run" / "tokenizer").exists()
    taken = []
    monkeypatch.setattr(trainer, "train_step", lambda self: taken.append(1) or train_step(self))
    assert tokenizer_command.main(given) == 0
    assert len(taken) == 2, "the step under way was finished"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--downsampling", "16"], "16x16 pixels do not divide into tokens of 32x32"),
        (["--width", "6"], "width must be a multiple of 4, not 6"),
        (["--steps", "0"], "steps must be at least 1"),
        (["--perceptual", "nowhere.safetensors"], "perceptual network nowhere.safetensors cannot"),
    ],
)
def test_wrong_settings_are_one_clear_line(bars, tmp_path, capsys, options, message):
    given = [str(bars.root), "--out", str(tmp_path / "run"), "--steps", "1", *options]
    assert nfd(["tokenizer", *given]) == 1
    text = " ".join(capsys.readouterr().err.split())
    assert text.count("nfd: ") == 1
    assert re.search(message, text)
    assert not (tmp_path / "run" / "checkpoint").exists()


# -- worlds with it ----------------------------------------------------------------------------


def test_a_world_is_trained_on_it_and_plays(finished, bars, tmp_path):
    run = tmp_path / "run"
    given = ["tiny", "--data", str(bars.root), "--out", str(run), *TRAIN]
    assert nfd(["train", *given, "--tokenizer", str(finished)]) == 0
    world = World.from_pretrained(run / "world")
    assert isinstance(world.tokenizer, AutoencoderTokenizer)
    mine, theirs = world.tokenizer.state_dict(), load_tokenizer(finished).state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    with gym.make("NFD-World-v0", world=str(run / "world"), endless=True) as env:
        env.reset(seed=0)
        assert env.step(1)[0].shape == (16, 16, 3)
    # Trained on, with the tokenizer that it has.
    more = ["--start-from", str(run / "world"), "--out", str(tmp_path / "more")]
    assert nfd(["train", *given, *more]) == 0
    again = World.from_pretrained(tmp_path / "more" / "world")
    assert again.tokenizer.config == world.tokenizer.config


def test_tokens_are_made_before_the_network_learns_from_them(finished, bars, tmp_path):
    """No gradient reaches the autoencoder, whatever it allows."""
    given = ["tiny", "--data", str(bars.root), "--out", str(tmp_path), *TRAIN]
    options = command.TrainCommand("tiny", data=bars.root, tokenizer=finished, batch_size=2)
    stages = command._plan(options, get_preset("tiny"), bars, torch.device("cpu"))
    stages.folder = tmp_path / given[-1]
    trainer = stages.trainer()
    trainer.tokenizer.requires_grad_(True)
    trainer.train_step()
    assert all(p.grad is None for p in trainer.tokenizer.parameters())


def test_the_papers_preset_takes_one_step_with_a_tokenizer():
    """At its own shapes but few layers; the tokenizer's networks are tiny."""
    tokenizer = make_tokenizer(frame_shape=(224, 384, 3), downsampling=16, latent_channels=16,
                               patch_size=2)  # fmt: skip
    preset = with_autoencoder(get_preset("nfd-130m"), tokenizer.config)
    assert preset == get_preset("nfd-130m"), "its network is made for these tokens"
    from gymnasium import spaces

    from world_model.action_spec import ActionSpec

    spec = ActionSpec.from_space(spaces.Discrete(3))
    network = NextFrameDiffusion(replace(preset.network, layers=1, window=2), spec)
    latents = tokenizer.encode(torch.randint(0, 256, (1, 2, 224, 384, 3), dtype=torch.uint8))
    loss = flow_loss(
        network, latents, torch.zeros(1, 2, 1), preset.flow, torch.Generator(), previous=0
    )
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None for p in network.parameters())


def test_frames_that_were_encoded_before_teach_the_same(finished, bars, tmp_path, monkeypatch):
    options = command.TrainCommand("tiny", data=bars.root, tokenizer=finished, batch_size=2)
    options = replace(options, precision="float32")
    losses = []
    for name in ("plain", "cached", "cached"):
        stages = command._plan(options, get_preset("tiny"), bars, torch.device("cpu"))
        stages.folder = tmp_path / f"{name}{len(losses)}"
        if name == "cached":
            stages.tokens = cached_tokens(
                bars, stages.tokenizer(), device="cpu", precision="float32"
            )
            assert stages.tokens.shape == (bars.num_frames, 4, 4)
            # Neither the second time, nor in training.
            monkeypatch.setattr(AutoencoderTokenizer, "encode", None)
        losses.append(stages.trainer().train_step().loss)
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    assert losses[2] == losses[1] != losses[0]


def test_tokens_of_another_tokenizer_are_not_taken(finished, bars):
    first = load_tokenizer(finished)
    options = {"autocast": lambda: autocast("float32", "cpu")}
    ours = open_tokens(bars, first, **options)
    other = load_tokenizer(finished)
    with torch.no_grad():
        other.encoder.layers[-1].bias += 1.0
    theirs = open_tokens(bars, other, **options)
    assert not np.array_equal(ours, theirs)
    rows = torch.from_numpy(np.array(bars.frames[70:75]))
    np.testing.assert_allclose(theirs[70:75], other.encode(rows), rtol=1e-3, atol=1e-3)


def test_a_damaged_cache_says_so(finished, bars):
    tokenizer = load_tokenizer(finished).with_scale((0.0,) * 4, 9.0)
    options = {"autocast": lambda: autocast("float32", "cpu")}
    path = Path(open_tokens(bars, tokenizer, **options).filename)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"is damaged.*Delete"):
        open_tokens(bars, tokenizer, **options)


def test_pixel_patches_are_not_cached(bars, tmp_path, capsys):
    given = ["train", "tiny", "--data", str(bars.root), "--out", str(tmp_path / "run"), *TRAIN]
    assert nfd([*given, "--cache-tokens"]) == 1
    assert "--cache-tokens is for an autoencoder" in capsys.readouterr().err


class Store:
    """What a plan asks of a data set, of any frame shape."""

    root, labels = "big", None

    def __init__(self, shape):
        self.frame_shape = shape


def test_the_papers_presets_say_what_to_do(tmp_path):
    options = command.TrainCommand("nfd-310m", data=tmp_path / "vpt")
    with pytest.raises(ConfigError) as caught:
        command._plan(options, get_preset("nfd-310m"), Store((224, 384, 3)), torch.device("cpu"))
    text = str(caught.value)
    assert "wants an autoencoder for frames of 384x224" in text
    assert f"nfd tokenizer {tmp_path / 'vpt'} --out runs/tokenizer" in text
    assert "--tokenizer runs/tokenizer" in text
    stages = command._plan(options, get_preset("nfd-310m"), Store((64, 64, 3)), torch.device("cpu"))
    assert stages.preset.network.token_dim == 192, "small frames need none"


def test_presets_leave_out_what_is_about_pixels():
    config = make_tokenizer().config
    for preset in map(get_preset, PRESETS):
        changed = with_autoencoder(preset, config)
        assert (changed.network.grid, changed.network.token_dim) == ((2, 4), 4)
        assert changed.network.transport is None
        assert (changed.flow.motion_weight, changed.flow.object_weights) == (0.0, ())


def test_a_tokenizer_that_does_not_fit(finished, bars, tmp_path, capsys):
    given = ["train", "tiny", "--data", str(bars.root), "--out", str(tmp_path / "run"), *TRAIN]
    other = save_tokenizer(make_tokenizer(frame_shape=(16, 32, 3)), tmp_path / "other", {})
    assert nfd([*given, "--tokenizer", str(other)]) == 1
    assert "for frames of 32x16" in capsys.readouterr().err
    assert nfd([*given, "--tokenizer", str(finished), "--object-weights", "2"]) == 1
    assert "weigh pixels" in " ".join(capsys.readouterr().err.split())
    assert nfd([*given, "--tokenizer", str(finished), "--start-from", "doom-take-cover"]) == 1
    assert "leave --tokenizer or --start-from out" in " ".join(capsys.readouterr().err.split())
