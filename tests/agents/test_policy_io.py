import json

import numpy as np
import pytest
import torch
from gymnasium import spaces
from safetensors.torch import load_file

from agents.observers import StackedFrames
from agents.policy_io import (
    PolicyConfig,
    load_config,
    load_optimizer,
    load_policy,
    make_network,
    policy_id,
    save_policy,
)
from world_model.action_spec import ActionSpec
from world_model.errors import CheckpointError, NFDError

SPEC = ActionSpec.from_space(spaces.Discrete(3), names=["stay", "left", "right"])
CONFIG = PolicyConfig(
    action_spec=SPEC.to_dict(),
    frame_shape=(64, 64, 3),
    frame_stack=2,
    features_dim=32,
    training={"timesteps": 123},
)
STACK = StackedFrames((64, 64, 3), 2)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = make_network(CONFIG, STACK)
    # SB3 starts with nearly equal probabilities: make the choice matter.
    torch.nn.init.normal_(network.action_net.weight)
    return network


def play(policy, steps=12, seeds=(0, 1)):
    rng = np.random.default_rng(5)
    state = policy.begin(seeds)
    return [
        policy.act(rng.integers(256, size=(len(seeds), 64, 64, 3), dtype=np.uint8), state).tolist()
        for _ in range(steps)
    ]


@pytest.mark.parametrize("deterministic", [True, False])
def test_round_trip_plays_the_same(tmp_path, network, deterministic):
    save_policy(tmp_path / "agent", network, CONFIG)
    loaded = load_policy(tmp_path / "agent", deterministic=deterministic)
    again = load_policy(tmp_path / "agent", deterministic=deterministic)
    for name, value in network.named_parameters():
        assert torch.equal(value, dict(loaded.network.named_parameters())[name])
    actions = play(loaded)
    assert actions == play(again)
    assert len(np.unique(actions)) > 1
    assert load_config(tmp_path / "agent") == CONFIG
    assert loaded.action_spec.to_dict() == SPEC.to_dict()


def test_half_precision_is_half_the_size_and_plays_alike(tmp_path, network):
    save_policy(tmp_path / "full", network, CONFIG)
    save_policy(tmp_path / "half", network, CONFIG, half=True)
    sizes = [(tmp_path / n / "model.safetensors").stat().st_size for n in ("full", "half")]
    assert sizes[1] < 0.52 * sizes[0]
    same = np.equal(play(load_policy(tmp_path / "full")), play(load_policy(tmp_path / "half")))
    assert same.mean() > 0.9


def test_network_sees_the_stack_as_stable_baselines_builds_it(network):
    from stable_baselines3.common.vec_env import VecFrameStack, VecTransposeImage

    from agents.trained import TrainedPolicy
    from tests.agents.big_toy import make_big_toy_envs

    envs = VecTransposeImage(VecFrameStack(make_big_toy_envs(2, seed=0), 2))
    policy = TrainedPolicy(network, SPEC, STACK, frame_shape=(64, 64, 3))
    stacked = envs.reset()
    state = policy.begin([0, 1])
    ends = 0
    for _ in range(60):
        frames = stacked[:, 3:].transpose(0, 2, 3, 1)
        actions = policy.act(frames, state)
        np.testing.assert_array_equal(state.seen.transpose(0, 3, 1, 2), stacked)
        expected, _ = network.predict(stacked, deterministic=True)
        np.testing.assert_array_equal(actions, expected)
        stacked, _, dones, _ = envs.step(actions)
        for stream in np.flatnonzero(dones):
            policy.restart(state, int(stream), 0)
            ends += 1
    assert ends > 1


def test_sampling_follows_the_probabilities(network):
    from agents.trained import TrainedPolicy

    with torch.no_grad():
        network.action_net.weight.zero_()
        network.action_net.bias.copy_(torch.tensor([0.7, 0.1, 0.2]).log())
    policy = TrainedPolicy(network, SPEC, STACK, frame_shape=(64, 64, 3), deterministic=False)
    state = policy.begin(range(50))
    frames = np.zeros((50, 64, 64, 3), np.uint8)
    counts = np.bincount(
        np.concatenate([policy.act(frames, state) for _ in range(40)]), minlength=3
    )
    np.testing.assert_allclose(counts / 2000, [0.7, 0.1, 0.2], atol=0.04)


def test_optimizer_travels_along(tmp_path, network):
    network.optimizer.zero_grad()
    network.value_net.weight.sum().backward()
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    network.optimizer.step()
    save_policy(tmp_path / "agent", network, CONFIG, optimizer=True)
    other = make_network(CONFIG, STACK)
    assert load_optimizer(tmp_path / "agent", other)
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        before, after = network.optimizer.state[mine], other.optimizer.state[theirs]
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
    save_policy(tmp_path / "shared", network, CONFIG)
    assert not load_optimizer(tmp_path / "shared", other)


def test_identity_follows_the_weights(tmp_path, network):
    save_policy(tmp_path / "a", network, CONFIG)
    first = policy_id(tmp_path / "a")
    save_policy(tmp_path / "a", network, CONFIG)
    assert policy_id(tmp_path / "a") == first
    with torch.no_grad():
        network.value_net.bias += 1
    save_policy(tmp_path / "a", network, CONFIG)
    assert policy_id(tmp_path / "a") != first
    assert policy_id(tmp_path / "a").startswith("a#")


def test_broken_folders_say_what_is_wrong(tmp_path, network):
    path = tmp_path / "agent"
    with pytest.raises(CheckpointError, match=r"no policy at .*config\.json"):
        load_policy(path)
    save_policy(path, network, CONFIG)
    weights = path / "model.safetensors"

    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "format_version": 99}))
    with pytest.raises(CheckpointError, match="format version 99"):
        load_policy(path)
    (path / "config.json").write_text(json.dumps({**config, "surprise": 1}))
    with pytest.raises(CheckpointError, match="surprise"):
        load_policy(path)
    (path / "config.json").write_text(json.dumps({**config, "features_dim": 16}))
    with pytest.raises(CheckpointError, match="has shape"):
        load_policy(path)
    (path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_policy(path)

    (path / "config.json").write_text(json.dumps(config))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="missing or damaged"):
        load_policy(path)
    weights.unlink()
    with pytest.raises(CheckpointError, match="missing or damaged"):
        load_policy(path)


def test_shared_extractor_is_stored_once(tmp_path, network):
    save_policy(tmp_path / "agent", network, CONFIG)
    names = set(load_file(tmp_path / "agent" / "model.safetensors"))
    assert not any(name.startswith(("pi_", "vf_")) for name in names)
    assert len(names) == 12


def test_only_discrete_actions_can_be_sampled(network):
    from agents.trained import TrainedPolicy

    box = ActionSpec.from_space(spaces.Box(-1, 1, (2,)))
    with pytest.raises(NFDError, match="deterministic=True"):
        TrainedPolicy(network, box, STACK, frame_shape=(64, 64, 3), deterministic=False)
