"""Which real environment a world is compared with."""

from __future__ import annotations

import importlib
import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from gymnasium import spaces
from rich.console import Console

from benchmarks import policy_ranking
from benchmarks.evaluate import main
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.evaluation_folder import command_of
from benchmarks.imagined_agents import Academy
from benchmarks.opening import open_world
from benchmarks.reality import code_of, reality_of
from benchmarks.training_budget import TrainingBudget
from tests.benchmarks import sliding, sliding_game
from tests.world_model.tiny import tiny_world
from world_model.errors import NFDError

NAME = sliding_game.NAME
OTHER = NAME.replace("SlidingGame", "OtherGame")
HERE = "tests.benchmarks.test_reality"


class Larger(sliding_game.SlidingGame):
    """Shows more than the world."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(0, 255, (64, 64, 3), np.uint8)


class Freer(sliding_game.SlidingGame):
    """Has an action that the world does not know."""

    closed = 0

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Discrete(4)

    def close(self) -> None:
        Freer.closed += 1


def no_source() -> sliding.SlidingWorld:
    world = sliding_game.world()
    world.config = replace(world.config, source={})
    return world


def test_is_what_the_world_says_or_what_is_named():
    assert reality_of(sliding_game.world()) == NAME
    assert reality_of(sliding_game.world(), OTHER) == OTHER
    assert reality_of(no_source(), NAME) == NAME
    with pytest.raises(NFDError, match="cannot be played here"):
        reality_of(no_source())
    with pytest.raises(NFDError, match="nothing-known"):
        reality_of(sliding_game.world(), "nothing-known")


def test_other_spaces_are_refused_before_anything_is_played():
    with pytest.raises(NFDError, match=r"Larger has other observations than .*\(64, 64, 3\)"):
        reality_of(sliding_game.world(), f"{HERE}:Larger")
    with pytest.raises(NFDError, match=r"Freer has other actions than .*Discrete\(4\).*--real-env"):
        reality_of(sliding_game.world(), f"{HERE}:Freer")
    assert Freer.closed == 1
    with pytest.raises(NFDError, match="has other actions"):
        reality_of(sliding_game.world(game=f"{HERE}:Freer"))


def rank(out, world, **changes):
    options = EvaluateOptions(
        out=out, policies=("noop", "uniform"), episodes=2, pictures=False, **changes
    )
    return policy_ranking.run(options, Console(quiet=True), world)


def test_policies_are_ranked_in_the_one_that_is_named(tmp_path):
    document = rank(tmp_path, no_source(), real_env=NAME)
    sides = document["results"]["by_steps"]["1"]["policies"]["noop"]
    assert sides["real"]["environment"] == f"{NAME} (real)"
    assert f"--real-env {NAME}" in command_of(document)
    # What was played in another game is not taken for it.
    other = rank(tmp_path, no_source(), real_env=OTHER)
    sides = other["results"]["by_steps"]["1"]["policies"]["noop"]
    assert sides["real"]["environment"] == f"{OTHER} (real)"


def test_the_perfect_world_is_the_one_that_is_named():
    world = open_world(f"perfect:{HERE}:no_source", real_env=NAME)
    (moment,) = world.games.start([3])
    frame, _ = sliding_game.SlidingGame().reset(seed=3)
    world.close()
    assert np.array_equal(moment.frame, frame)


def test_agents_of_another_game_are_not_taken_for_its_own(tmp_path):
    def academy(real_env):
        return Academy(
            sliding_game.world(), tmp_path, TrainingBudget(), sampling_steps=1,
            console=Console(quiet=True), real_env=real_env,
        )  # fmt: skip

    keys = [json.dumps(academy(name)._playing()) for name in (None, NAME, OTHER)]
    assert len(set(keys)) == 3


@pytest.mark.slow
def test_from_the_command_line(tmp_path):
    arguments = ["--measure", "ranking", "--policies", "noop", "uniform", "--episodes", "2"]
    arguments += ["--no-pictures", "--out", str(tmp_path), "--real-env", NAME]
    assert main([f"{HERE}:no_source", *arguments]) == 0
    settings = json.loads((tmp_path / "ranking.json").read_text())["settings"]
    assert settings["real_env"] == NAME


def test_what_was_played_is_told_without_the_game(tmp_path, monkeypatch):
    rank(tmp_path, no_source(), real_env=NAME)

    def gone(*_):
        raise NFDError("the game is not installed")

    monkeypatch.setattr(policy_ranking, "reality_of", gone)
    rank(tmp_path, no_source(), real_env=NAME)
    with pytest.raises(NFDError, match="not installed"):
        rank(tmp_path, no_source(), real_env=OTHER)


GAME = """
from tests.benchmarks.sliding_game import SlidingGame

class Game(SlidingGame):
    def step(self, action):
        frame, reward, *others = super().step(action)
        return frame, PAYS * reward, *others
"""


def test_an_environment_that_was_changed_is_played_again(tmp_path, monkeypatch):
    (tmp_path / "changing_game.py").write_text(f"PAYS = 1\n{GAME}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def returns():
        document = rank(tmp_path / "out", no_source(), real_env="changing_game:Game")
        return document["results"]["by_steps"]["1"]["policies"]["uniform"]["real"]["returns"]

    first = returns()
    assert sum(first) > 0
    assert returns() == first
    (tmp_path / "changing_game.py").write_text(f"PAYS = 7\n{GAME}")
    importlib.invalidate_caches()
    sys.modules.pop("changing_game")
    changed = returns()
    assert changed == [7 * value for value in first]
    # What is known is told without the game, too.
    (tmp_path / "changing_game.py").unlink()
    sys.modules.pop("changing_game")
    importlib.invalidate_caches()
    assert returns() == changed


def test_code_is_found_behind_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NFD_TRUST_SOURCES", "1")
    named = code_of(NAME)
    assert set(named) == {"code"}
    world = tiny_world()
    world.config = replace(world.config, source={"environment": NAME})
    assert code_of(str(world.save_pretrained(tmp_path / "world"))) == named
    assert code_of({"environment": NAME, "name": "sliding"}) == named
    for known in ("doom-take-cover", {"environment": "ALE/Pong-v5"}, "nothing-known", "no:thing"):
        assert code_of(known) == {}


@pytest.mark.parametrize("content", ["[]", "{}", '{"key": 1, "evaluations": []}', "{"])
def test_a_damaged_memory_of_real_returns_is_made_anew(tmp_path, content):
    document = rank(tmp_path, no_source(), real_env=NAME)
    (tmp_path / "real-returns.json").write_text(content)
    again = rank(tmp_path, no_source(), real_env=NAME)
    sides = [d["results"]["by_steps"]["1"]["policies"]["noop"]["real"] for d in (document, again)]
    assert sides[0]["returns"] == sides[1]["returns"]
    assert json.loads((tmp_path / "real-returns.json").read_text())["key"]["environment"] == NAME


def test_what_was_remembered_is_told(tmp_path):
    told = io.StringIO()
    for _ in range(2):
        assert "are those in" not in told.getvalue()
        told = io.StringIO()
        options = EvaluateOptions(
            out=tmp_path, policies=("noop", "uniform"), episodes=2, pictures=False, real_env=NAME
        )
        policy_ranking.run(options, Console(file=told, width=300), no_source())
    assert f"real returns of noop, uniform are those in {tmp_path}" in told.getvalue()
