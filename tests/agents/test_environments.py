"""Real environments by name, and made again from what recordings and worlds keep of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from agents.arena import Arena
from agents.collecting import command
from agents.environments import (
    real_action_spec,
    real_environment,
    real_name,
    real_vec_envs,
    source_of,
)
from agents.policies import make_policy
from tests.agents import fake_envs
from tests.agents.test_collecting import contents
from tests.world_model.tiny import tiny_world
from world_model.data import open_store
from world_model.errors import ActionError, ConfigError, DataError, NFDError, WorldNotFoundError

FLAGS = ["--steps", "20", "--processes", "1", "--shard-episodes", "2"]
CLOCK = [
    "NFDTestClock-v0", "--name", "clock", "--size", "6", "8", "--frame-skip", "2",
    "--kwargs", '{"duration": 7}', "--policy", "random", "runs",
]  # fmt: skip


def record(*arguments: str) -> int:
    return command.main([*arguments, *FLAGS])


@pytest.fixture
def recorded(tmp_path, monkeypatch) -> Path:
    assert fake_envs.Clock  # its module registers the ids
    monkeypatch.chdir(tmp_path)
    assert record(*CLOCK) == 0
    return tmp_path / "data" / "clock"


def world_of(folder: Path):
    store = open_store(folder)
    source = json.loads(json.dumps(store.source))
    config = SimpleNamespace(source=source, name="w", frame_shape=store.frame_shape)
    return SimpleNamespace(config=config, model_id="w@1#0", action_spec=store.action_spec)


# -- recording ---------------------------------------------------------------------------------


def test_the_command_records_any_environment(recorded, capsys):
    store = open_store(recorded)
    assert store.frame_shape == (6, 8, 3)
    assert store.fps == 10.0
    assert store.num_frames >= 20
    for i in range(store.num_episodes):
        episode = store.episode(i)
        assert episode.frames[:, 0, 0, 0].tolist() == [0, 2, 4, 6, 7]
        assert episode.rewards.tolist() == [2, 2, 2, 1]
        assert episode.terminated[-1]
    assert "# clock" in (recorded / "README.md").read_text()
    assert store.source["max_episode_steps"] == 5


def test_going_on_with_it(recorded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command.main([*CLOCK, *FLAGS[2:], "--steps", "45"]) == 0
    assert command.main([*CLOCK, *FLAGS[2:], "--steps", "45", "--out", "whole"]) == 0
    assert contents(recorded) == contents(tmp_path / "whole")
    with pytest.raises(DataError, match=r"preprocessing\.crop: None there, \[0, 6, 0, 8\] now"):
        record(*CLOCK, "--crop", "0", "6", "0", "8")


@pytest.mark.slow
def test_the_number_of_processes_does_not_matter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "tests.agents.fake_envs:make_keyboard"
    for processes in ("1", "2"):
        out = ["--out", processes, "--processes", processes, "--size", "6", "8"]
        assert command.main([name, *FLAGS[:2], *FLAGS[4:], *out]) == 0
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert open_store(tmp_path / "1").action_spec.dim == 5


def test_it_records_what_is_rendered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert record("NFDTestClock-v0", "--render", "--size", "4", "4", "--out", "set") == 0
    store = open_store(tmp_path / "set")
    assert store.episode(0).frames[-1, 0, :, 0].tolist() == [0, 0, 9, 9]
    assert store.episode(0).truncated[-1]


@pytest.mark.filterwarnings("ignore:.*render_mode")  # Gymnasium's own words for it
def test_what_cannot_be_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"NFDTestBlind-v0 observes Box.*no image.*--render"):
        record("NFDTestBlind-v0")
    with pytest.raises(ConfigError, match="NFDTestBlind-v0 cannot draw itself"):
        record("NFDTestBlind-v0", "--render")
    with pytest.raises(ActionError, match=r"no bounds.*--action-limit 10"):
        record("tests.agents.fake_envs:make_unbounded")
    with pytest.raises(ConfigError, match="no JSON object"):
        record("NFDTestClock-v0", "--kwargs", "[1]")
    with pytest.raises(ConfigError, match=r"'pong' is a preset.*--frame-skip.*ALE/Pong-v5"):
        record("pong", "--frame-skip", "2")
    with pytest.raises(WorldNotFoundError, match="Presets: doom-take-cover, doom-health"):
        record("Nothing-like-it-v0")
    with pytest.raises(ConfigError, match=r"crop=\(0, 99, 0, 4\)"):
        record("NFDTestClock-v0", "--crop", "0", "99", "0", "4")
    assert list(tmp_path.iterdir()) == []
    assert record("tests.agents.fake_envs:make_unbounded", "--action-limit", "2") == 0


# -- coming back to it ---------------------------------------------------------------------------


def test_the_real_environment_is_made_again(recorded, monkeypatch):
    world = world_of(recorded)
    for real in (source_of(world), str(recorded)):
        env = real_environment(real)()
        frame, _ = env.reset(seed=0)
        np.testing.assert_array_equal(frame, open_store(recorded).episode(0).frames[0])
        assert env.step(1)[1] == 2.0
        assert real_action_spec(real) == world.action_spec
        env.close()
    assert real_name(source_of(world)) == "clock"
    envs = real_vec_envs(str(recorded))(2, 0)
    assert envs.reset().shape == (2, 6, 8, 3)
    envs.close()


def test_names_of_presets_come_first(recorded, tmp_path):
    recorded.rename(tmp_path / "doom-take-cover")
    assert real_action_spec("doom-take-cover").groups[0].labels == ("stay", "right", "left")
    assert real_environment("./doom-take-cover")().frame_shape == (6, 8, 3)
    with pytest.raises(WorldNotFoundError, match="no real environment is called 'nowhere'"):
        real_environment("nowhere")


def test_an_arena_finds_it(recorded):
    world = world_of(recorded)
    arena = Arena(Console(quiet=True), world=world, streams=2)
    arena.check_real()
    policy = make_policy("uniform", world.action_spec.space)
    evaluation = arena.play_real(policy, 3)
    assert evaluation.environment == "clock (real)"
    assert evaluation.lengths.tolist() == [4, 4, 4]
    assert evaluation.returns.tolist() == [7, 7, 7]
    world.config.frame_shape = (3, 4, 3)
    with pytest.raises(ConfigError, match=r"\(6, 8, 3\).*resized"):
        arena.check_real()


def test_a_world_that_does_not_say():
    world = SimpleNamespace(config=SimpleNamespace(source={"environment": "X-v0"}), model_id="w")
    with pytest.raises(NFDError, match=r"w was learned from 'X-v0'.*cannot be played"):
        source_of(world)
    world.config.source = {"preset": "doom-take-cover", "preprocessing": {}}
    assert source_of(world) == "doom-take-cover"


def test_a_function_of_a_world_from_elsewhere_gets_no_arguments():
    """What a downloaded world says must not become a call of somebody else's choosing."""
    source = {
        "name": "x", "environment": "subprocess:call", "kwargs": {"args": ["touch", "x"]},
        "fps": None, "preprocessing": {},
    }  # fmt: skip
    with pytest.raises(ConfigError, match="takes no arguments"):
        real_environment(source)()


@pytest.mark.parametrize("name", ["os:getcwd", "package:Id-v0", "NFD-World-v0"])
def test_code_that_a_world_names_is_not_run_unasked(name, monkeypatch):
    recipe = {"name": "x", "environment": name, "kwargs": {}, "preprocessing": {}}
    world = tiny_world()
    for source in ({"preset": name}, recipe):
        world.config = replace(world.config, source=source)
        with pytest.raises(NFDError, match=r"says .* NFD_TRUST_SOURCES=1"):
            source_of(world)
    monkeypatch.setenv("NFD_TRUST_SOURCES", "1")
    assert source_of(world) == recipe
