import json
from dataclasses import replace

import pytest
from gymnasium import spaces
from rich.console import Console

from agents.arena import Arena, find_policies
from agents.command import AgentOptions, main, make_arena, run
from agents.ppo_config import PPOConfig
from tests.agents.big_toy import BigToyGame, BigToyWorld
from world_model.action_spec import ActionSpec
from world_model.errors import ActionError, ConfigError, ContextError, NFDError

WORLD = "tests.agents.big_toy:BigToyWorld"
GAME = "tests.agents.big_toy:BigToyGame"
PPO = PPOConfig(n_envs=2, n_steps=16, batch_size=16, n_epochs=1, features_dim=16)


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


def test_training_in_imagination_ends_in_the_real_game(tmp_path, capsys):
    options = AgentOptions(
        world=WORLD, timesteps=64, seeds=(0, 1), episodes=3, baselines=("noop", "sweep-2"),
        out=tmp_path, ppo=PPO, device="cpu",
    )  # fmt: skip
    run(options, Console(width=120))
    output = capsys.readouterr().out
    assert "2 agents together" in output
    assert "lead over sweep-2" in output
    results = results_of(tmp_path)
    assert results["kind"] == "agent"
    assert results["world"] == "toy@1#000000000000"
    played = [(e["policy"], e["environment"], e["episodes"]) for e in results["evaluations"]]
    assert played == [
        (name, f"{GAME} (real)", 3) for name in ("noop", "sweep-2", "PPO, seed 0", "PPO, seed 1")
    ]
    assert results["agents"]["episodes"] == 6
    for seed in (0, 1):
        policy = tmp_path / f"seed-{seed}" / "policy"
        assert sorted(file.name for file in policy.iterdir()) == [
            "config.json", "learning_curve.csv", "model.safetensors",
        ]  # fmt: skip
        config = json.loads((policy / "config.json").read_text())
        assert config["training"]["source"] == {
            "world": "toy@1#000000000000", "starts": "bundled", "horizon": None,
        }  # fmt: skip
        assert config["training"]["timesteps"] == 64
        assert config["training"]["seed"] == seed


def test_a_shorter_horizon_for_training_only(tmp_path):
    options = AgentOptions(
        world=WORLD, timesteps=64, episodes=2, baselines=("noop",), out=tmp_path, ppo=PPO,
        device="cpu", horizon=5, imagined_episodes=2,
    )  # fmt: skip
    results = run(options, Console(quiet=True))
    curve = (tmp_path / "seed-0" / "learning_curve.csv").read_text().splitlines()
    assert float(curve[-1].split(",")[3]) == 5.0
    # The toy game cannot be lost in five steps: nobody was cut off in the evaluations.
    assert all(min(e["lengths"]) > 5 for e in results["evaluations"])


def test_training_may_start_elsewhere_than_in_the_bundled_clips(tmp_path):
    options = AgentOptions(
        world=WORLD, timesteps=32, episodes=0, out=tmp_path, ppo=PPO, device="cpu", contexts=GAME
    )
    run(options, Console(quiet=True))
    assert (tmp_path / "seed-0" / "policy" / "config.json").is_file()
    with pytest.raises(ContextError, match="names no start of episodes"):
        run(replace(options, contexts="nowhere", out=tmp_path / "other"), Console(quiet=True))


def test_the_same_command_again_has_nothing_left_to_train(tmp_path, capsys):
    options = AgentOptions(
        world=WORLD, timesteps=32, episodes=1, baselines=("noop",), out=tmp_path, ppo=PPO,
        device="cpu",
    )  # fmt: skip
    first, second = run(options, Console()), run(options, Console())
    weights = [results["evaluations"][-1]["returns"] for results in (first, second)]
    assert weights[0] == weights[1]
    assert (tmp_path / "seed-0" / "learning_curve.csv").read_text().count("\n") == 2


def test_a_model_free_baseline_trains_on_real_steps(tmp_path):
    options = AgentOptions(
        real=GAME, timesteps=32, episodes=1, baselines=("noop",), out=tmp_path, ppo=PPO,
        device="cpu",
    )  # fmt: skip
    results = run(options, Console())
    assert results["world"] is None
    config = json.loads((tmp_path / "seed-0" / "agent" / "config.json").read_text())
    assert config["training"]["source"] == {"real_environment": GAME}


def test_policies_play_both_games_and_are_ranked(tmp_path, capsys):
    argv = [
        "--policy", "noop", "uniform", "sweep-1", "sweep-5", "--world", WORLD, "--episodes", "5",
        "--out", str(tmp_path), "--device", "cpu",
    ]  # fmt: skip
    assert main(argv) == 0
    results = results_of(tmp_path)
    assert len(results["evaluations"]) == 8
    real, imagined = results["evaluations"][:4], results["evaluations"][4:]
    assert [e["policy"] for e in real] == [e["policy"] for e in imagined]
    assert -1 <= results["rank_agreement"]["low"] <= results["rank_agreement"]["estimate"] <= 1
    assert "Spearman" in capsys.readouterr().out


def test_arena_plays_the_same_seeds_for_every_policy():
    arena = Arena(Console(quiet=True), world=BigToyWorld())
    policies = find_policies(["noop", "action-0"], arena.action_spec)
    first, second = (arena.play_real(policy, 4) for policy in policies)
    assert first.returns.tolist() == second.returns.tolist()
    imagined = arena.play_imagined(policies[0], 40)
    assert len(imagined.returns) == 40
    assert arena.real == [first, second]


def test_baselines_stand_for_all_blind_policies():
    spec = BigToyWorld().action_spec
    names = [policy.name for policy in find_policies(["baselines", "right"], spec)]
    assert names[0] == "noop"
    assert names[-1] == "right"
    assert len(names) == 8


def test_bad_options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NFDError, match="one of them"):
        run(AgentOptions(world=WORLD, real=GAME), Console())
    with pytest.raises(NFDError, match="not be empty"):
        run(AgentOptions(world=WORLD, seeds=()), Console())
    with pytest.raises(ActionError, match="'fly' is neither"):
        run(AgentOptions(real=GAME, policy=("fly",)), Console())
    with pytest.raises(NFDError, match="could not be loaded"):
        run(AgentOptions(real="no.such:Game"), Console())
    assert list(tmp_path.iterdir()) == []


class DictWorld(BigToyWorld):
    """A world whose actions are a Dict, as MineRL's are."""

    def __init__(self):
        super().__init__()
        self.action_spec = ActionSpec.from_space(spaces.Dict({"move": spaces.Discrete(3)}))


def test_worlds_of_dict_actions_train_nobody_and_say_what_to_do(tmp_path):
    world = f"{__name__}:DictWorld"
    options = AgentOptions(world=world, out=tmp_path / "run", ppo=PPO, device="cpu")
    with pytest.raises(ConfigError, match=r"actions of toy@1#0+, a Dict.*action_mode="):
        run(options, Console(quiet=True))
    assert list(tmp_path.iterdir()) == []
    # Policies that are there already may play it.
    arena = make_arena(replace(options, policy=("uniform",), episodes=0), Console(quiet=True))
    assert isinstance(arena.action_spec.space, spaces.Dict)


def test_a_world_of_unknown_origin_can_still_be_trained_in(tmp_path):
    world = BigToyWorld()
    world.config = type(world.config)(frame_shape=(64, 64, 3), source={})
    with pytest.raises(NFDError, match="cannot be played here"):
        Arena(Console(), world=world).check_real()
    assert BigToyGame().action_space.n == 3
