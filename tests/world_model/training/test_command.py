"""``nfd train`` from end to end: a world comes out, whatever happens on the way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from safetensors.torch import load_file

import nfd_env  # noqa: F401  (registers the environment)
from nfd_env.cli.main import main as nfd
from tests.world_model.disk import full_disk
from tests.world_model.test_video import read
from tests.world_model.training.bars import INFO, make_bars, play
from world_model.data.writer import write_dataset
from world_model.errors import StorageError
from world_model.flow import FlowConfig
from world_model.presets import PRESETS, get_preset
from world_model.training import command
from world_model.world import World

QUICK = [
    *("--steps", "6", "--batch-size", "2", "--precision", "float32"),
    *("--outcome.steps", "3", "--outcome.batch", "2", "--outcome.finetune-steps", "2"),
    *("--outcome.calibration-batches", "8", "--outcome.horizon", "4"),
]
NO_OUTCOME = ["--steps", "6", "--batch-size", "2", "--outcome.steps", "0", "--precision", "float32"]


def arguments(bars, run: Path, *more: str) -> list[str]:
    return ["tiny", "--data", str(bars.root), "--out", str(run), *more]


def step_of(run: Path) -> int:
    return json.loads((run / "checkpoint" / "training.json").read_text())["step"]


@pytest.fixture(scope="module")
def finished(bars, tmp_path_factory):
    """A finished run with everything that can be had of one."""
    run = tmp_path_factory.mktemp("train") / "run"
    more = ("--sample-every", "3", "--name", "moving-bar")
    assert nfd(["train", *arguments(bars, run, *QUICK, *more)]) == 0
    return run


# -- what comes out ----------------------------------------------------------------------------


def test_the_world_can_be_played(finished, bars):
    world = World.from_pretrained(finished / "world")
    assert world.config.name == "moving-bar"
    assert world.outcome is not None
    assert world.contexts is not None
    assert world.moments is not None
    assert world.moments.outcome_memory is not None
    with gym.make("NFD-World-v0", world=str(finished / "world")) as env:
        observation, _ = env.reset(seed=0)
        assert observation.shape == (16, 16, 3)
        assert env.action_space == gym.spaces.Discrete(3)
        for action in (0, 1, 2):
            observation, reward, terminated, truncated, _ = env.step(action)
            assert observation.dtype == np.uint8
            assert isinstance(float(reward), float)
            if terminated or truncated:
                env.reset()


def test_the_folder_of_a_run(finished):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "calibration.json",
        "checkpoint",
        "metrics.jsonl",
        "outcome",
        "samples",
        "tensorboard",
        "world",
    }
    assert step_of(finished) == 6
    report = json.loads((finished / "calibration.json").read_text())
    assert report["after"]["nll"] <= report["before"]["nll"] + 1e-6


def test_there_are_films_and_figures_to_look_at(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    films = sorted((finished / "samples").iterdir())
    assert [film.name for film in films] == ["step-0000003.mp4", "step-0000006.mp4"]
    assert len(read(films[0])[0]) > 4
    board = EventAccumulator(str(finished / "tensorboard"))
    board.Reload()
    assert {"psnr/1", "psnr/4", "psnr_repeat_last/1"} <= set(board.Tags()["scalars"])
    assert [event.step for event in board.Scalars("psnr/1")] == [3, 6]
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6]


def test_weights_are_stored_in_half_precision_unless_asked(finished, bars, tmp_path):
    def dtypes(run):
        weights = load_file(run / "world" / "network.safetensors")
        return {str(tensor.dtype) for tensor in weights.values()}

    assert dtypes(finished) == {"torch.float16"}
    assert nfd(["train", *arguments(bars, tmp_path / "run", *NO_OUTCOME, "--no-half")]) == 0
    assert dtypes(tmp_path / "run") == {"torch.float32"}
    assert World.from_pretrained(tmp_path / "run" / "world").outcome is None


def test_run_again_gives_the_same_world(finished, bars, capsys):
    before = World.from_pretrained(finished / "world").model_id
    more = ("--sample-every", "3", "--name", "moving-bar")
    assert nfd(["train", *arguments(bars, finished, *QUICK, *more)]) == 0
    assert capsys.readouterr().out.strip() == str(finished / "world")
    assert World.from_pretrained(finished / "world").model_id == before


def test_episodes_that_never_terminate_still_give_a_world(tmp_path, capsys):
    """There is nothing to calibrate, but that is no reason to lose the training."""
    episodes = [play(3 * i, 12) for i in range(12)]
    assert not any(episode.terminated.any() for episode in episodes)
    write_dataset(tmp_path / "set", episodes, INFO)
    run = tmp_path / "run"
    assert command.main(["tiny", "--data", str(tmp_path / "set"), "--out", str(run), *QUICK]) == 0
    assert "Terminations are not calibrated" in " ".join(capsys.readouterr().err.split())
    assert World.from_pretrained(run / "world").outcome is not None
    assert not (run / "calibration.json").exists()


@pytest.mark.slow
def test_video_is_learned_at_the_size_that_is_asked_for(tmp_path, capsys):
    """Training, distillation and starts from the data set take the world's frames of it."""
    from tests.world_model.data.films import make_films

    data = make_films(tmp_path / "set", [24] * 12, shard_episodes=6)  # frames of 96 x 160 pixels
    run = tmp_path / "run"
    given = ["tiny", "--data", str(data), "--out", str(run), "--frame-size", "16", "24"]
    assert nfd(["train", *given, *NO_OUTCOME]) == 0
    world = World.from_pretrained(run / "world")
    assert world.config.frame_shape == (16, 24, 3)
    assert world.config.source["resized_from"] == [96, 160, 3]
    with gym.make("NFD-World-v0", world=str(run / "world"), contexts=str(data)) as env:
        observation, _ = env.reset(seed=0)
        assert observation.shape == (16, 24, 3)
        assert len(np.unique(observation)) > 2  # averaged blocks of black and white
    few = ["--out", str(tmp_path / "few"), "--steps", "2", "--batch-size", "2"]
    quick = ["--method", "energy", "--outcome.steps", "0", "--precision", "float32"]
    assert nfd(["distill", str(run / "world"), "--data", str(data), *few, *quick]) == 0


# -- stopped on the way ------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_same_command_goes_on(bars, tmp_path, monkeypatch, capsys, number):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert command.main(arguments(bars, whole, *NO_OUTCOME)) == 0
    train_step = command.Trainer.train_step

    def signalled(self):
        if self.state.step == 3:
            os.kill(os.getpid(), number)
        return train_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(command.Trainer, "train_step", signalled)
        assert command.main(arguments(bars, parts, *NO_OUTCOME)) == 130
    assert "Interrupted; the checkpoint is saved" in capsys.readouterr().err
    assert step_of(parts) == 4  # the step under way was finished
    assert not (parts / "world").exists()
    assert command.main(arguments(bars, parts, *NO_OUTCOME)) == 0
    ids = {World.from_pretrained(run / "world").model_id for run in (whole, parts)}
    assert len(ids) == 1


@pytest.mark.slow
def test_sigterm_from_outside(bars, tmp_path, repository):
    """As a cluster's scheduler or a container's runtime stops a run."""
    run = tmp_path / "run"
    options = ["--steps", "1000000", "--batch-size", "2", "--save-every", "1000000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "nfd_env.cli.main", "train", *arguments(bars, run, *options)],
        cwd=repository,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not ((run / "metrics.jsonl").exists() and (run / "metrics.jsonl").read_text()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Interrupted" in errors
    assert "Traceback" not in errors
    assert step_of(run) >= 20


def test_a_full_disk_says_so_and_keeps_the_checkpoint(bars, tmp_path):
    run = tmp_path / "run"
    assert command.main(arguments(bars, run, *NO_OUTCOME)) == 0
    before = World.from_pretrained(run / "world").model_id
    longer = ["--steps", "9", "--batch-size", "2", "--outcome.steps", "0", "--precision", "float32"]
    with full_disk(100_000), pytest.raises(StorageError, match="Free some disk space"):
        command.main(arguments(bars, run, *longer))
    assert step_of(run) == 6
    assert World.from_pretrained(run / "world").model_id == before


def test_object_weights_can_be_left_out(bars, tmp_path, monkeypatch):
    """A preset that weighs objects trains on data without labels, if told so."""
    weighing = replace(get_preset("tiny"), flow=FlowConfig(object_weights=(2.0,)))
    monkeypatch.setitem(PRESETS, "tiny", weighing)
    given = arguments(bars, tmp_path, *NO_OUTCOME)
    assert nfd(["train", *given]) == 1
    assert nfd(["train", *given, "--object-weights"]) == 0
    assert World.from_pretrained(tmp_path / "world").flow.object_weights == ()


# -- what cannot be ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "options", "message"),
    [
        ("doom", [], "unknown preset 'doom'; there are: doom-take-cover"),
        ("tiny", ["--steps", "0"], "steps must be at least 1, not 0"),
        ("tiny", ["--precision", "float16"], "precision must be one of"),
        ("tiny", ["--learning-rate", "-1"], "learning_rate must be positive, not -1"),
        ("tiny", ["--object-weights", "2"], "data set has no labels.*nfd train --object-weights"),
        ("tiny", ["--device", "abacus"], "there is no device 'abacus'"),
        ("tiny", ["--length", "1"], "length=1 leaves nothing to learn"),
        ("tiny", ["--length", "1000"], "has 1000 frames"),
        ("tiny", ["--data", "nowhere"], "nowhere is no data set.*'nfd collect'"),
    ],
)
def test_wrong_settings_are_one_clear_line(
    bars, tmp_path, monkeypatch, capsys, preset, options, message
):
    monkeypatch.chdir(tmp_path)
    given = ["train", *arguments(bars, tmp_path / "run", *NO_OUTCOME), *options]
    given[1] = preset
    assert nfd(given) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    text = " ".join(captured.err.split())
    assert text.count("nfd: ") == 1
    assert "Traceback" not in text
    assert re.search(message, text)
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_frames_that_no_patch_divides(tmp_path, capsys):
    from tests.world_model.data.episodes import make_dataset

    make_dataset(tmp_path / "set", [8, 8, 8])  # frames of 6 x 8 pixels
    given = ["tiny", "--data", str(tmp_path / "set"), "--out", str(tmp_path / "run"), *NO_OUTCOME]
    assert nfd(["train", *given]) == 1
    text = " ".join(capsys.readouterr().err.split())
    assert "6x8 pixels do not divide into patches of 8x8" in text


def test_an_empty_data_set(tmp_path, capsys):
    (tmp_path / "set").mkdir()
    given = ["tiny", "--data", str(tmp_path / "set"), "--out", str(tmp_path / "run")]
    assert nfd(["train", *given]) == 1
    assert "Record one with 'nfd collect'" in capsys.readouterr().err


def test_the_run_of_other_settings_is_refused(finished, bars, capsys):
    before = (finished / "metrics.jsonl").read_text()
    assert nfd(["train", *arguments(bars, finished, *QUICK, "--seed", "1")]) == 1
    assert "train.seed is 0 there and 1 here" in capsys.readouterr().err
    assert (finished / "metrics.jsonl").read_text() == before


def test_too_little_data_is_noticed_before_training(tmp_path, capsys):
    make_bars(tmp_path / "set", episodes=1)
    given = ["tiny", "--data", str(tmp_path / "set"), "--out", str(tmp_path / "run")]
    assert nfd(["train", *given]) == 1
    assert "both are needed" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_help_names_the_presets(capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(["--help"])
    assert caught.value.code == 0
    assert "nfd-774m" in capsys.readouterr().out
