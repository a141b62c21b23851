"""``nfd distill`` from end to end: a world that samples in few steps comes out."""

from __future__ import annotations

import json
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from safetensors.torch import load_file

import nfd_env  # noqa: F401  (registers the environment)
from nfd_env.cli.main import main as nfd
from tests.world_model.training.bars import INFO, play
from world_model.action_spec import ActionSpec
from world_model.data.writer import write_dataset
from world_model.distillation.methods import MethodSettings
from world_model.distillation.scm import ScmConfig
from world_model.errors import CheckpointError, ConfigError
from world_model.network import NextFrameDiffusion
from world_model.tokenizer import PixelPatchTokenizer
from world_model.training.adaptation import OutcomeSettings
from world_model.training.cost import TIMED_STEPS, WARM_STEPS
from world_model.training.distill import DistillCommand, run
from world_model.world import World

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def teacher(bars, tmp_path_factory):
    """Folder of a world of bars, barely trained, without an outcome model."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    options = ["--steps", "4", "--batch-size", "2", "--outcome.steps", "0"]
    options += ["--precision", "float32", "--name", "bars"]
    assert nfd(["train", "tiny", "--data", str(bars.root), "--out", str(folder), *options]) == 0
    return folder / "world"


@pytest.fixture(scope="module")
def quick(bars, teacher, tmp_path_factory):
    """A command that is done in a second."""
    return DistillCommand(
        str(teacher),
        data=bars.root,
        out=tmp_path_factory.mktemp("distill") / "run",
        steps=5,
        batch_size=2,
        length=4,
        precision="float32",
    )


@pytest.fixture(scope="module")
def student(quick):
    """Folder of the world that was made from the teacher."""
    return run(quick)


def test_the_result_samples_in_few_steps(teacher, student):
    before, after = World.from_pretrained(teacher), World.from_pretrained(student)
    assert (after.config.sampler, after.config.sampling_steps) == ("consistency", 2)
    assert before.flow.loss != "energy"
    assert after.flow.loss == "energy"
    assert after.network.config == before.network.config
    assert after.config.name == "bars"
    assert after.contexts is not None
    assert before.contexts is not None
    assert np.array_equal(after.contexts.frames, before.contexts.frames)
    changed = [
        not torch.equal(a, b)
        for a, b in zip(before.network.parameters(), after.network.parameters(), strict=True)
    ]
    assert sum(changed) > len(changed) / 2
    kept = after.many_step()
    for a, b in zip(kept.network.parameters(), before.network.parameters(), strict=True):
        torch.testing.assert_close(a, b.half().float())


def test_the_result_can_be_played(student):
    for options in ({}, {"sampling_steps": 1}, {"sampling_steps": 4}):
        env = gym.make("NFD-World-v0", world=str(student), **options)
        env.reset(seed=0)
        frames = [env.step(action)[0] for action in (0, 1, 2)]
        assert all(frame.shape == (16, 16, 3) for frame in frames)
        env.close()


def test_a_second_time_must_be_asked_for(quick, student, tmp_path):
    again = replace(quick, world=str(student), out=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"was distilled before. Give --further"):
        run(again)
    assert not (tmp_path / "run").exists()
    path = run(replace(again, further=True, sampling_steps=1))
    assert World.from_pretrained(path).config.sampling_steps == 1


def test_it_goes_on_where_it_was(quick, tmp_path):
    """Three steps, at a rate that has not begun to fall, and then the rest are as good as all."""
    parts = replace(quick, out=tmp_path / "run")
    run(replace(parts, steps=3))
    continued = run(replace(parts, steps=12))
    whole = run(replace(quick, out=tmp_path / "whole", steps=12))
    first, second = (World.from_pretrained(path).network for path in (continued, whole))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_as_many_steps_as_fit_and_what_they_cost(quick, tmp_path):
    timed = replace(quick, out=tmp_path / "run", minutes=0.05)
    run(timed)
    cost = json.loads((timed.out / "cost.json").read_text())
    first = WARM_STEPS + TIMED_STEPS
    assert cost["loss"] == "energy"
    assert cost["steps"] > first
    assert cost["windows"] == 2 * cost["steps"]
    assert 1 < cost["seconds"] < 30
    state = json.loads((timed.out / "checkpoint" / "training.json").read_text())
    assert state["step"] == cost["steps"]
    run(replace(timed, minutes=None, steps=cost["steps"] + 2))
    more = json.loads((timed.out / "cost.json").read_text())
    assert more["steps"] == cost["steps"] + 2
    assert more["seconds"] > cost["seconds"]
    with pytest.raises(ConfigError, match="minutes must be a positive number, not -1"):
        run(replace(timed, minutes=-1.0))


def test_methods_that_are_their_own_target_learn_slowly(quick, tmp_path):
    for method, rate in (("energy", 1e-3), ("consistency", 2e-5)):
        folder = tmp_path / method
        run(replace(quick, method=method, out=folder, steps=1))
        state = json.loads((folder / "checkpoint" / "training.json").read_text())
        assert state["settings"]["train"]["learning_rate"] == rate


def test_data_of_another_shape_are_refused(quick, tmp_path):
    other = replace(INFO, frame_shape=(8, 8, 3))
    episodes = [
        replace(episode, frames=episode.frames[:, :8, :8])
        for episode in (play(seed, 19) for seed in range(20))
    ]
    data = write_dataset(tmp_path / "set", episodes, other, shard_episodes=20)
    with pytest.raises(ConfigError, match=r"frames of \(8, 8, 3\), bars@1"):
        run(replace(quick, data=data, out=tmp_path / "run"))


@pytest.mark.parametrize("names", [["stay", "left", "right", "jump"], ["stay", "right", "left"]])
def test_data_of_other_actions_are_refused(quick, tmp_path, names):
    """Weights may begin with another game's, but a student keeps the actions of its world."""
    spec = ActionSpec.from_space(spaces.Discrete(len(names)), names=names)
    episodes = [play(seed, 19) for seed in range(20)]
    other = replace(INFO, action_spec=spec)
    data = write_dataset(tmp_path / "set", episodes, other, shard_episodes=20)
    with pytest.raises(ConfigError, match=r"the actions .* bars@1.*nfd train --start-from"):
        run(replace(quick, data=data, out=tmp_path / "run"))
    assert not (tmp_path / "run" / "world").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sampling-steps", "0"], "sampling_steps must be at least 1, not 0"),
        (["--learning-rate", "-1"], "learning_rate must be positive"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_bad_settings_give_one_line(teacher, tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    assert nfd(["distill", str(teacher), *options]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_evaluate_and_distill_look_for_the_same_data(teacher, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for command in ("distill", "evaluate"):
        assert nfd([command, str(teacher)]) == 1
        error = " ".join(capsys.readouterr().err.split())
        assert "no folder data/bars here. Name its folder with --data" in error
    # What is there under that name is taken by both.
    (tmp_path / "data" / "bars").mkdir(parents=True)
    for command in ("distill", "evaluate"):
        assert nfd([command, str(teacher)]) == 1
        assert "data/bars is no data set" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(("window", "length"), [(4, 8), (8, 12)])
def test_windows_are_half_as_long_again_as_what_is_in_sight(
    quick, teacher, tmp_path, window, length
):
    world = World.from_pretrained(teacher)
    config = replace(world.network.config, window=window)
    torch.manual_seed(0)
    network = NextFrameDiffusion(config, world.action_spec)
    seeing = replace(world, network=network, _networks={}).save_pretrained(tmp_path / "world")
    run(replace(quick, world=str(seeing), length=None, steps=1, out=tmp_path / "run"))
    state = json.loads((tmp_path / "run" / "checkpoint" / "training.json").read_text())
    assert state["settings"]["train"]["length"] == length


def test_an_outcome_model_is_learned_where_asked_for_and_adapted(quick, tmp_path):
    """The second time it is kept, but for what the new frames teach it."""
    settings = OutcomeSettings(
        steps=3, finetune_steps=2, calibration_batches=3, horizon=4, batch=8
    )  # fmt: skip
    folder = run(replace(quick, out=tmp_path / "run", outcome=settings))
    first = World.from_pretrained(folder)
    assert first.outcome is not None
    report = json.loads((tmp_path / "run" / "calibration.json").read_text())
    assert report["scale"] == pytest.approx(first.outcome.termination_scale.item())
    again = replace(quick, world=str(folder), further=True, out=tmp_path / "again")
    kept = run(replace(again, outcome=replace(settings, steps=0, finetune_steps=0)))
    second = World.from_pretrained(kept)
    assert second.outcome is not None
    for name, value in first.outcome.state_dict().items():
        same = torch.equal(value, second.outcome.state_dict()[name])
        assert same or name.startswith("termination_")
    taught = run(replace(again, out=tmp_path / "third", outcome=replace(settings, steps=0)))
    third = World.from_pretrained(taught).outcome
    assert third is not None
    assert any(
        not torch.equal(a, b)
        for a, b in zip(first.outcome.parameters(), third.parameters(), strict=True)
    )


@pytest.mark.parametrize("method", ["scm", "consistency"])
def test_methods_with_a_teacher(quick, teacher, student, tmp_path, method):
    command = replace(quick, method=method, out=tmp_path / "run")
    made = World.from_pretrained(run(command))
    assert made.flow.loss == method
    assert made.flow.makes_samples
    # What was distilled cannot teach, but can be taught, by the teacher that it kept or another.
    again = replace(command, world=str(student), further=True, out=tmp_path / "again")
    with pytest.raises(ConfigError, match=r"was distilled itself. Name one with --teacher"):
        run(replace(again, teacher=str(student)))
    taught = World.from_pretrained(run(again))
    assert taught.flow.loss == method
    assert taught.many_step().flow == World.from_pretrained(teacher).flow


def test_shortcuts_need_no_teacher_and_are_told_their_length(quick, teacher, tmp_path):
    command = replace(quick, method="shortcut", out=tmp_path / "run")
    made = World.from_pretrained(run(command))
    assert made.flow.loss == "shortcut"
    assert made.network.config.step_size
    assert (made.config.sampler, made.config.sampling_steps) == ("euler", 2)
    assert not made.many_step().network.config.step_size
    again = replace(command, world=str(tmp_path / "run" / "world"), further=True)
    assert run(replace(again, out=tmp_path / "again")).is_dir()
    with pytest.raises(ConfigError, match="Go on with --method shortcut"):
        run(replace(again, method="energy", out=tmp_path / "energy"))
    with pytest.raises(ConfigError, match="shortcut has no teacher"):
        run(replace(command, teacher=str(teacher), out=tmp_path / "taught"))


def test_what_scm_learns_beside_the_network_is_resumed(quick, tmp_path):
    parts = replace(quick, method="scm", out=tmp_path / "run")
    run(replace(parts, steps=3))
    continued = run(replace(parts, steps=12))
    whole = run(replace(quick, method="scm", out=tmp_path / "whole", steps=12))
    first, second = (load_file(path.parent / "checkpoint" / "method.safetensors")
                     for path in (continued, whole))  # fmt: skip
    assert any(value.abs().max() > 0 for name, value in first.items() if "project_out" in name)
    for name in first:
        torch.testing.assert_close(first[name], second[name])


def test_a_run_goes_on_with_the_same_method_or_not_at_all(quick, tmp_path):
    command = replace(quick, method="scm", steps=3, out=tmp_path / "run")
    run(command)
    with pytest.raises(CheckpointError, match=r"method.warmup_steps is 1000 there and 5 here"):
        run(replace(command, settings=MethodSettings(scm=ScmConfig(warmup_steps=5))))
    with pytest.raises(CheckpointError, match=r"method.adversary"):
        run(replace(command, settings=MethodSettings(adversarial=True)))


def test_energy_has_no_teacher(quick, teacher, tmp_path):
    with pytest.raises(ConfigError, match="energy has no teacher"):
        run(replace(quick, teacher=str(teacher), out=tmp_path / "run"))


def test_settings_of_a_method_are_options(teacher, tmp_path, bars, monkeypatch):
    options = ["--method", "scm", "--scm.derivative", "difference", "--scm.warmup-steps", "7"]
    options += ["--steps", "2", "--batch-size", "2", "--length", "4", "--adversarial"]
    options += ["--adversary.heads", "1", "--data", str(bars.root), "--out", str(tmp_path / "run")]
    assert nfd(["distill", str(teacher), *options]) == 0
    written = json.loads((tmp_path / "run" / "checkpoint" / "training.json").read_text())
    method = written["settings"]["method"]
    assert (method["derivative"], method["warmup_steps"]) == ("difference", 7)
    assert method["adversary"]["heads"] == 1


def test_a_teacher_of_other_tokens_is_refused(quick, teacher, tmp_path):
    world = World.from_pretrained(teacher)
    tokenizer = PixelPatchTokenizer(replace(world.tokenizer.config, std=99.0))
    other = replace(world, tokenizer=tokenizer, _networks={}).save_pretrained(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"cannot teach bars@1.*other tokens"):
        run(replace(quick, method="scm", teacher=str(other), out=tmp_path / "run"))


def test_a_student_can_be_narrower(quick, teacher, tmp_path):
    width = World.from_pretrained(teacher).network.config.mlp_width // 2
    made = World.from_pretrained(run(replace(quick, mlp_width=width, out=tmp_path / "run")))
    assert made.network.config.mlp_width == width
    assert made.many_step().network.config.mlp_width == 2 * width


def test_a_student_can_be_smaller(quick, teacher, tmp_path):
    world = World.from_pretrained(teacher)
    config = replace(world.network.config, layers=5)
    torch.manual_seed(0)
    large = replace(world, network=NextFrameDiffusion(config, world.action_spec), _networks={})
    folder = str(large.save_pretrained(tmp_path / "large"))
    made = World.from_pretrained(run(replace(quick, world=folder, layers=3, out=tmp_path / "run")))
    assert made.network.config.layers == 3
    assert made.many_step().network.config.layers == 5
    with pytest.raises(ConfigError, match="cut to 3 or more of them, not to 2"):
        run(replace(quick, world=folder, layers=2, out=tmp_path / "other"))


def test_the_adversarial_stage(quick, tmp_path):
    made = World.from_pretrained(
        run(
            replace(
                quick, method="scm", settings=MethodSettings(adversarial=True), out=tmp_path / "run"
            )
        )
    )
    assert made.flow.loss == "scm"
    learned = load_file(tmp_path / "run" / "checkpoint" / "method.safetensors")
    assert any(name.startswith("adversary.heads.") for name in learned)
    with pytest.raises(ConfigError, match="adversarial stage belongs to --method scm"):
        run(replace(quick, settings=MethodSettings(adversarial=True), out=tmp_path / "other"))
