"""Training learns, and a run that was stopped in any way equals one that was not."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import pytest
import torch
from gymnasium import spaces

from tests.world_model.disk import full_disk
from tests.world_model.tiny import randomise, tiny_world
from tests.world_model.training.bars import INFO, make_bars, make_trainer
from tests.world_model.training.test_checkpoint import tensors
from world_model.action_spec import ActionSpec
from world_model.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DivergenceError,
    NFDError,
    StorageError,
)
from world_model.network import NextFrameDiffusion
from world_model.presets import get_preset
from world_model.training.trainer import Trainer

SHORT = {"steps": 8, "save_every": 3, "batch_size": 2, "learning_rate": 1e-2}


def train(trainer, stop_after=None):
    """Reports of a run, which is closed after so many steps."""
    made = []
    with closing(trainer.run()) as reports:
        for report in reports:
            made.append(report)
            if len(made) == stop_after:
                break
    return made


def assert_equal(one: Trainer, other: Trainer, **tolerance) -> None:
    assert one.state.step == other.state.step
    a, b = tensors(one.state), tensors(other.state)
    assert a.keys() == b.keys()
    for name in a:
        if tolerance:
            torch.testing.assert_close(a[name], b[name], **tolerance)
        else:
            assert torch.equal(a[name], b[name]), name


@pytest.fixture(scope="module")
def uninterrupted(bars, tmp_path_factory):
    trainer = make_trainer(bars, tmp_path_factory.mktemp("whole"), **SHORT)
    return trainer, train(trainer)


# -- learning ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_loss_falls_and_imagined_frames_beat_the_last_real_one(bars, tmp_path):
    from world_model.training.adaptation import OutcomeSettings
    from world_model.training.pipeline import Stages
    from world_model.training.samples import sample_world

    trainer = make_trainer(
        bars, tmp_path, steps=100, batch_size=8, learning_rate=1e-2, warmup_steps=10, save_every=999
    )
    losses = [report.loss for report in train(trainer)]
    assert sum(losses[-10:]) < 0.25 * sum(losses[:10])
    stages = Stages(
        bars, get_preset("tiny"), tmp_path, "bars", trainer.config, OutcomeSettings(contexts=4)
    )
    report = sample_world(stages.world(trainer), bars, tmp_path / "film.mp4", horizon=4)
    assert report.psnr[1] > report.psnr_repeat_last[1] + 3
    assert report.psnr[4] > report.psnr_repeat_last[4] + 3


def test_reports_say_what_happened(uninterrupted):
    _, reports = uninterrupted
    assert [report.step for report in reports] == list(range(1, 9))
    warmup = get_preset("tiny").train.warmup_steps
    assert reports[0].learning_rate == pytest.approx(1e-2 / warmup)
    assert reports[-1].learning_rate < reports[warmup].learning_rate
    assert all(report.loss > 0 and report.gradient_norm > 0 for report in reports)


def test_the_averaged_network_has_the_averaged_weights(uninterrupted):
    trainer, _ = uninterrupted
    network = trainer.averaged_network()
    assert not network.training
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, trainer.state.ema.weights[name]), name
    differs = [
        not torch.equal(a, b)
        for a, b in zip(network.parameters(), trainer.model.parameters(), strict=True)
    ]
    assert any(differs)


def test_the_seed_decides_everything(bars, tmp_path, uninterrupted):
    again = make_trainer(bars, tmp_path / "a", **SHORT)
    torch.manual_seed(999)  # the global generator has no say
    reports = train(again)
    assert_equal(again, uninterrupted[0])
    assert reports == uninterrupted[1]
    other = make_trainer(bars, tmp_path / "b", **SHORT, seed=1)
    assert train(other, 1)[0].loss != reports[0].loss


def test_noise_is_new_in_every_step_process_and_run(bars, tmp_path, monkeypatch):
    drawn = []

    class StopTraining(Exception):
        pass

    def note_and_stop(*args, **options):
        drawn.append(args[4].initial_seed())
        raise StopTraining

    monkeypatch.setattr("world_model.training.trainer.flow_loss", note_and_stop)
    for seed in (0, 1):
        for rank in ("0", "1"):
            monkeypatch.setenv("RANK", rank)
            trainer = make_trainer(bars, tmp_path, seed=seed)
            for step in range(50):
                trainer.state.step = step
                with pytest.raises(StopTraining):
                    trainer.train_step()
    assert len(set(drawn)) == len(drawn) == 200


# -- stopped and continued ---------------------------------------------------------------------


@pytest.mark.parametrize("stop_after", [1, 3, 7])
def test_stopped_and_continued_equals_uninterrupted(bars, tmp_path, uninterrupted, stop_after):
    first = train(make_trainer(bars, tmp_path, **SHORT), stop_after)
    resumed = make_trainer(bars, tmp_path, **SHORT)
    assert resumed.state.step == stop_after
    second = train(resumed)
    assert first + second == uninterrupted[1]
    assert_equal(resumed, uninterrupted[0])


def test_an_error_outside_saves_too(bars, tmp_path, uninterrupted):
    def fail() -> None:
        with closing(make_trainer(bars, tmp_path, **SHORT).run()) as reports:
            for report in reports:
                if report.step == 4:
                    raise RuntimeError("elsewhere")

    with pytest.raises(RuntimeError, match="elsewhere"):
        fail()
    resumed = make_trainer(bars, tmp_path, **SHORT)
    assert resumed.state.step == 4
    train(resumed)
    assert_equal(resumed, uninterrupted[0])


@pytest.mark.slow
def test_killed_and_continued_equals_uninterrupted(bars, tmp_path, uninterrupted):
    code = f"""
import os, signal
from pathlib import Path
from tests.world_model.training.bars import make_trainer
from world_model.data import open_store
trainer = make_trainer(open_store({str(bars.root)!r}), Path({str(tmp_path)!r}), **{SHORT!r})
for report in trainer.run():
    if report.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    resumed = make_trainer(bars, tmp_path, **SHORT)
    assert resumed.state.step == 3
    assert train(resumed) == uninterrupted[1][3:]
    assert_equal(resumed, uninterrupted[0])


def test_in_bfloat16_too(bars, tmp_path):
    settings = {**SHORT, "precision": "bfloat16"}
    whole = make_trainer(bars, tmp_path / "whole", **settings)
    train(whole)
    train(make_trainer(bars, tmp_path / "parts", **settings), 4)
    resumed = make_trainer(bars, tmp_path / "parts", **settings)
    train(resumed)
    assert_equal(resumed, whole, atol=1e-5, rtol=1e-3)


def test_adamw_alone_too(bars, tmp_path):
    settings = {**SHORT, "optimizer": "adamw"}
    whole = make_trainer(bars, tmp_path / "whole", **settings)
    train(whole)
    train(make_trainer(bars, tmp_path / "parts", **settings), 4)
    resumed = make_trainer(bars, tmp_path / "parts", **settings)
    train(resumed)
    assert_equal(resumed, whole)


@pytest.mark.parametrize("where", ["first optimiser", "second optimiser", "average"])
def test_an_update_that_was_cut_short_is_not_saved(bars, tmp_path, uninterrupted, where):
    """Ctrl-C in the middle of an update: half of the weights are new, half are old."""
    trainer = make_trainer(bars, tmp_path, **SHORT)

    def interrupt(*args):
        raise KeyboardInterrupt

    reports = trainer.run()
    for _ in range(4):
        next(reports)
    if where == "average":
        trainer.state.ema.update = interrupt
    else:
        trainer.state.optimizers[where == "second optimiser"].step = interrupt
    with pytest.raises(KeyboardInterrupt):
        next(reports)
    resumed = make_trainer(bars, tmp_path, **SHORT)
    assert resumed.state.step == 3  # the last one that was saved on time
    train(resumed)
    assert_equal(resumed, uninterrupted[0])


def test_an_interruption_before_the_update_saves_the_step_before(bars, tmp_path, monkeypatch):
    trainer = make_trainer(bars, tmp_path, **SHORT)
    reports = trainer.run()
    for _ in range(5):
        next(reports)

    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "_forward", interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(reports)
    assert make_trainer(bars, tmp_path, **SHORT).state.step == 5


def test_a_finished_run_has_nothing_left_to_do(bars, tmp_path):
    train(make_trainer(bars, tmp_path, **SHORT))
    again = make_trainer(bars, tmp_path, **SHORT)
    before = (tmp_path / "checkpoint" / "training.json").stat().st_mtime_ns
    assert train(again) == []
    assert (tmp_path / "checkpoint" / "training.json").stat().st_mtime_ns == before


def test_a_run_can_be_extended(bars, tmp_path):
    train(make_trainer(bars, tmp_path, **SHORT))
    longer = make_trainer(bars, tmp_path, **{**SHORT, "steps": 10, "save_every": 4, "log_every": 1})
    assert [report.step for report in train(longer)] == [9, 10]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "train.seed is 0 there and 1 here"),
        ({"batch_size": 4}, "train.batch_size is 2 there and 4 here"),
        ({"learning_rate": 0.5}, "train.learning_rate is 0.01 there and 0.5 here"),
    ],
)
def test_other_settings_do_not_continue_a_run(bars, tmp_path, changes, message):
    train(make_trainer(bars, tmp_path, **SHORT), 1)
    with pytest.raises(CheckpointError, match=message):
        make_trainer(bars, tmp_path, **{**SHORT, **changes})


def test_other_data_does_not_continue_a_run(bars, tmp_path):
    train(make_trainer(bars, tmp_path / "run", **SHORT), 1)
    other = make_bars(tmp_path / "set", episodes=5)
    with pytest.raises(CheckpointError, match="data is "):
        make_trainer(other, tmp_path / "run", **SHORT)


def test_a_damaged_checkpoint(bars, tmp_path):
    train(make_trainer(bars, tmp_path, **SHORT), 1)
    path = tmp_path / "checkpoint" / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        make_trainer(bars, tmp_path, **SHORT)


def test_a_process_killed_while_it_replaced_its_checkpoint(bars, tmp_path):
    train(make_trainer(bars, tmp_path, **SHORT), 4)
    (tmp_path / "checkpoint").rename(tmp_path / ".checkpoint.12345.old")
    assert make_trainer(bars, tmp_path, **SHORT).state.step == 4
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_full_disk_keeps_the_checkpoint(bars, tmp_path):
    train(make_trainer(bars, tmp_path, **SHORT), 3)
    trainer = make_trainer(bars, tmp_path, **SHORT)
    with full_disk(200_000), pytest.raises(StorageError, match="Free some disk space"):
        train(trainer)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert make_trainer(bars, tmp_path, **SHORT).state.step == 3


# -- what cannot be ----------------------------------------------------------------------------


def test_a_gradient_that_is_not_finite_changes_nothing(bars, tmp_path):
    trainer = make_trainer(bars, tmp_path, **SHORT)
    train(trainer, 2)
    with torch.no_grad():
        trainer.model.embed.weight[0, 0] = torch.nan
    before = {name: value.clone() for name, value in tensors(trainer.state).items()}
    with pytest.raises(DivergenceError, match=r"gradient is nan at step 2.*below 0\.01") as caught:
        trainer.train_step()
    assert isinstance(caught.value, NFDError)
    after = tensors(trainer.state)
    assert all(torch.equal(a.nan_to_num(), after[n].nan_to_num()) for n, a in before.items())
    assert trainer.state.step == 2


def test_episodes_that_are_too_short(tmp_path):
    short = make_bars(tmp_path / "set", episodes=3, transitions=3)
    with pytest.raises(DataError, match="no episode of the split 'train'"):
        make_trainer(short, tmp_path / "run")


def test_windows_of_one_frame(bars, tmp_path):
    with pytest.raises(ConfigError, match="length=1 leaves nothing to learn"):
        make_trainer(bars, tmp_path, length=1)


def test_processes_that_cannot_share_a_batch(bars, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="batch_size 4 does not divide among 3 processes"):
        make_trainer(bars, tmp_path, batch_size=4)


# -- weights of the loss -------------------------------------------------------------------------


def test_training_weighs_what_moves_and_objects(bars, tmp_path):
    plain = make_trainer(bars, tmp_path / "plain")
    moving = make_trainer(bars, tmp_path / "moving")
    moving.flow = replace(moving.flow, motion_weight=3.0)
    assert moving.train_step().loss not in (0.0, plain.train_step().loss)


def test_object_weights_for_data_without_labels(bars, tmp_path):
    trainer = make_trainer(bars, tmp_path)
    trainer.flow = replace(trainer.flow, object_weights=(2.0,))
    with pytest.raises(ConfigError, match="the data set has no labels"):
        trainer.train_step()


# -- beginning with a world ----------------------------------------------------------------------


def bar_world(**changes):
    """A tiny world of the bars' actions, with random weights."""
    world = tiny_world()
    spec = INFO.action_spec
    world.network = NextFrameDiffusion(replace(world.network.config, **changes), spec)
    randomise(world.network)
    world.action_spec = spec
    return world


def test_a_world_can_be_trained_further(bars, tmp_path):
    world = bar_world()
    trainer = make_trainer(bars, tmp_path, start_from=world, **SHORT)
    for name, weight in trainer.state.ema.weights.items():
        assert torch.equal(weight, world.network.state_dict()[name]), name
    train(trainer, stop_after=4)
    continued = make_trainer(bars, tmp_path, start_from=world, **SHORT)
    assert continued.state.step == 4  # the checkpoint goes first
    with pytest.raises(CheckpointError, match="start_from"):
        make_trainer(bars, tmp_path, start_from=bar_world_of_another_id(), **SHORT)


def bar_world_of_another_id():
    world = bar_world()
    world.content_hash = "another"
    return world


def test_a_world_of_other_actions_lends_all_but_these(bars, tmp_path):
    world = bar_world()
    labels = INFO.action_spec.groups[0].labels
    other = ActionSpec.from_space(spaces.Discrete(3), names=("jump", labels[1], labels[0]))
    network = NextFrameDiffusion(world.network.config, other)
    randomise(network)
    world.network, world.action_spec = network, other
    trainer = make_trainer(bars, tmp_path, start_from=world, **SHORT)
    theirs, ours = network.state_dict(), trainer.state.ema.weights
    table = "embed_action.tables.0.weight"
    for name in ours:
        if name != table:
            assert torch.equal(ours[name], theirs[name]), name
    assert torch.equal(ours[table][0], theirs[table][2])
    assert torch.equal(ours[table][1], theirs[table][1])
    train(trainer, stop_after=2)


def test_a_world_of_another_shape_is_no_beginning(bars, tmp_path):
    with pytest.raises(ConfigError, match=r"tiny@1.* differs in window"):
        make_trainer(bars, tmp_path, start_from=bar_world(window=2), **SHORT)
