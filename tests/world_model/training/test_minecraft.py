"""``nfd train`` on the actions of MineRL: buttons and a camera in degrees."""

from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch

import nfd_env  # noqa: F401  (registers the environment)
from nfd_env.cli.main import main as nfd
from tests.world_model.training.bars import INFO, draw, play
from world_model.action_spec import ActionSpec
from world_model.data import open_store
from world_model.data.writer import write_dataset
from world_model.embeddings import ActionEmbedding
from world_model.minecraft.actions import MinecraftActions, columns_of
from world_model.minecraft.factored import MINEWORLD
from world_model.minecraft.formats import FORMATS
from world_model.minecraft.minerl import CAMERA_CURVE, MineRLFormat, minerl_space, minerl_spec
from world_model.world import World

QUICK = [
    *("--steps", "4", "--batch-size", "2", "--precision", "float32", "--outcome.steps", "2"),
    *("--outcome.batch", "2", "--outcome.finetune-steps", "1", "--outcome.horizon", "3"),
    *("--outcome.calibration-batches", "4"),
]


def record(folder, fmt):
    """Moving bars, recorded with the keys left and right, and a camera that turns at random."""
    rng = np.random.default_rng(0)
    episodes = []
    for seed in range(24):
        episode = play(seed, 12)
        actions = MinecraftActions.none(len(episode.actions))
        actions.buttons[:, columns_of(("left", "right"))] = episode.actions == [1, 2]
        actions.camera[:] = rng.normal(0, 20, actions.camera.shape).clip(-180, 180)
        episodes.append(replace(episode, actions=fmt.write(actions)))
    return write_dataset(folder, episodes, replace(INFO, action_spec=fmt.spec))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fmt", "own"),
    [
        (MineRLFormat(ActionSpec.from_space(minerl_space())), "minerl"),
        (MINEWORLD, "mineworld"),
    ],
    ids=["a plain Dict", "mineworld"],
)
def test_a_world_of_minecraft_is_trained_and_played(fmt, own, tmp_path):
    data = record(tmp_path / "set", fmt)
    run = tmp_path / "run"
    assert nfd(["train", "tiny", "--data", str(data), "--out", str(run), *QUICK]) == 0
    world = World.from_pretrained(run / "world")
    assert world.action_spec == FORMATS[own].spec
    for mode in (None, *FORMATS):
        settings = {"world": str(run / "world"), "action_mode": mode}
        with gym.make("NFD-World-v0", **settings) as env:
            assert env.action_space == FORMATS[mode or own].spec.space
            env.reset(seed=0)
            env.action_space.seed(0)
            frame, reward, *_ = env.step(env.action_space.sample())
            assert frame.shape == draw(0).shape
            assert np.isfinite(reward)


def test_a_plain_dict_is_read_with_a_companded_camera(tmp_path):
    plain = MineRLFormat(ActionSpec.from_space(minerl_space()))
    store = open_store(record(tmp_path / "set", plain))
    assert store.action_spec == minerl_spec()
    curves = {group.name: group.companding for group in store.action_spec.groups}
    assert {name for name, curve in curves.items() if curve is not None} == {"camera"}
    assert curves["camera"] == CAMERA_CURVE


def test_half_a_turn_does_not_drown_the_buttons():
    """The camera's share of the embedding is bounded, and small moves are told apart."""
    torch.manual_seed(0)
    spec = minerl_spec()
    embed = ActionEmbedding(spec, 64)
    fmt = MineRLFormat(spec)

    def moved(*degrees):
        actions = MinecraftActions.none(len(degrees))
        actions.camera[:, 1] = degrees
        out = embed(torch.from_numpy(fmt.write(actions)))
        return (out - embed(torch.from_numpy(fmt.write(MinecraftActions.none(1))))).norm(dim=-1)

    small, ten, half_a_turn = moved(0.6, 10, 180).tolist()
    assert half_a_turn < 12 * small
    assert 0.4 < ten / half_a_turn < 0.5
