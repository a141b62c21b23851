from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from agents.collecting import behaviour, command
from agents.collecting.behaviour import MIX, Agent, Sweep, draw_policy
from agents.collecting.collector import collect, record_episode
from agents.policies import make_policy
from agents.presets import DOOM_TAKE_COVER
from tests.agents.fake_game import INFO, BrokenGame, FakeGame, draw_player
from tests.world_model.data.killing import kill_after_two_shards
from world_model.data import open_store
from world_model.data.writer import DatasetWriter
from world_model.errors import (
    ActionError,
    CheckpointError,
    DataError,
    NFDError,
    StorageError,
    WorldNotFoundError,
)


def record(root: Path, *, steps: int = 60, seed: int = 0, processes: int = 1, delay: float = 0.0):
    writer = DatasetWriter(root, INFO, settings={"seed": seed}, shard_episodes=3)
    game = partial(FakeGame, delay)
    collect(writer, game, draw_player, steps=steps, seed=seed, processes=processes)
    return writer


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


# -- episodes ----------------------------------------------------------------------------------


def test_episodes_hold_what_was_seen():
    endings = set()
    for index in range(30):
        game = FakeGame()
        episode = record_episode(game, draw_player, INFO.action_spec, 3, index)
        frames, actions = episode.frames, episode.actions
        assert (frames[1:, 0, 0, 0] == np.arange(2, len(frames) + 1)).all()
        # The pixel tells the action that led to the frame: the one recorded a row earlier.
        np.testing.assert_array_equal(frames[1:, 0, 0, 1], actions[: len(frames) - 1, 0])
        np.testing.assert_array_equal(episode.rewards, np.arange(1, len(actions) + 1))
        np.testing.assert_array_equal(episode.state[:, 0], np.arange(len(frames)))
        np.testing.assert_array_equal(episode.labels[:, 0, 0], np.arange(len(frames)) % 2)
        assert frames.max(axis=(1, 2, 3)).min() > 0, "a black frame was recorded"
        assert len(actions) == game.duration
        assert len(frames) == game.duration + (game.ending != 0)
        # Where a time-out is reported as a death too, it is a time-out.
        assert bool(episode.terminated[-1]) == (game.ending == 0)
        assert bool(episode.truncated[-1]) == (game.ending != 0)
        endings.add(game.ending)
    assert endings == {0, 1, 2}


def test_an_episode_is_a_function_of_seed_and_index():
    game = FakeGame()
    first = [record_episode(game, draw_player, INFO.action_spec, 0, i) for i in range(4)]
    again = record_episode(FakeGame(), draw_player, INFO.action_spec, 0, 2)
    np.testing.assert_array_equal(first[2].frames, again.frames)
    np.testing.assert_array_equal(first[2].actions, again.actions)
    assert len({e.info["seed"] for e in first}) == 4
    other = record_episode(FakeGame(), draw_player, INFO.action_spec, 1, 2)
    assert other.info != again.info


# -- recordings --------------------------------------------------------------------------------


def test_a_recording_can_be_opened(tmp_path):
    writer = record(tmp_path / "set")
    store = open_store(tmp_path / "set")
    assert store.num_frames == writer.frames >= 60
    assert store.num_episodes % 3 == 0
    expected = record_episode(FakeGame(), draw_player, INFO.action_spec, 0, 5)
    np.testing.assert_array_equal(store.episode(5).frames, expected.frames)
    assert store.episode(5).info == expected.info


def test_recording_more_later_keeps_what_is_there(tmp_path):
    record(tmp_path / "parts", steps=30)
    record(tmp_path / "parts", steps=90)
    record(tmp_path / "whole", steps=90)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_the_number_of_processes_does_not_matter(tmp_path):
    record(tmp_path / "one")
    reported = []
    writer = DatasetWriter(tmp_path / "two", INFO, settings={"seed": 0}, shard_episodes=3)
    collect(writer, FakeGame, draw_player, steps=60, seed=0, processes=2,
            report=lambda placed, played: reported.append((placed, played)))  # fmt: skip
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert reported[-1] == (writer.frames, 0)
    assert sum(played for _, played in reported) >= writer.frames


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, repository, processes):
    root = tmp_path / "killed"
    script = f"""
from pathlib import Path
from tests.agents.test_collecting import record
if __name__ == "__main__":
    record(Path({str(root)!r}), steps=150, processes={processes}, delay=0.02)
"""
    (tmp_path / "script.py").write_text(script)
    kill_after_two_shards(tmp_path / "script.py", root, repository)
    writer = record(root, steps=150)
    assert writer.frames >= 150
    record(tmp_path / "whole", steps=150)
    assert contents(root) == contents(tmp_path / "whole")


def test_other_settings_are_refused(tmp_path):
    record(tmp_path / "set", steps=20)
    before = contents(tmp_path / "set")
    with pytest.raises(DataError, match=r"settings\.seed: 0 there, 1 now"):
        record(tmp_path / "set", steps=40, seed=1)
    assert contents(tmp_path / "set") == before


def test_a_full_disk_is_one_clear_error_and_can_be_resumed(tmp_path, monkeypatch):
    written = []
    write_table = pq.write_table

    def fail_later(table, where, **settings):
        if len(written) == 5:  # each shard is staged, then placed: the third is being staged
            where.write_bytes(b"PAR1 half of it")
            raise OSError(28, "No space left on device")
        written.append(where)
        write_table(table, where, **settings)

    monkeypatch.setattr(pq, "write_table", fail_later)
    root = tmp_path / "set"
    with pytest.raises(StorageError, match="No space left on device"):
        record(root)
    files = sorted(path.name for path in root.rglob("*") if path.is_file())
    assert files[:2] == ["file-000.parquet", "file-001.parquet"]
    assert not any(".tmp" in name or name == "info.json" for name in files)
    monkeypatch.undo()
    record(root)
    record(tmp_path / "whole")
    assert contents(root) == contents(tmp_path / "whole")


@pytest.mark.slow
def test_an_error_in_a_process_reaches_the_caller(tmp_path):
    writer = DatasetWriter(tmp_path, INFO, shard_episodes=3)
    with pytest.raises(NFDError, match=r"all 3 episodes.*the game crashed"):
        collect(writer, partial(BrokenGame, 1), draw_player, steps=60, seed=0, processes=2)


def test_episodes_in_which_the_game_fails_are_left_out(tmp_path):
    writer = DatasetWriter(tmp_path / "set", INFO, shard_episodes=16)
    made = []

    def make() -> BrokenGame:
        made.append(BrokenGame())
        return made[-1]

    failures = collect(writer, make, draw_player, steps=100, seed=0)
    assert failures
    assert set(failures) == {"RuntimeError: the game crashed"}
    assert len(failures) == 16 * len(writer.shards) - writer.episodes
    assert len(made) == 1 + len(failures)  # what has failed is not played on
    assert all(game.closed for game in made)
    store = open_store(tmp_path / "set")
    assert store.num_episodes == writer.episodes
    assert store.lengths.max() <= 6
    # The others are what they would have been.
    played = [FakeGame() for _ in range(16 * len(writer.shards))]
    whole = [
        record_episode(game, draw_player, INFO.action_spec, 0, i) for i, game in enumerate(played)
    ]
    kept = [e for game, e in zip(played, whole, strict=True) if game.duration <= 5]
    for i, expected in enumerate(kept):
        np.testing.assert_array_equal(store.episode(i).frames, expected.frames)
    assert "were left out because the environment failed in them, last with RuntimeError" in (
        command.summary(writer, failures)
    )


def test_what_the_game_cannot_do_is_no_accident(tmp_path):
    """A wrong action is the player's fault: no episode is left out for it."""
    writer = DatasetWriter(tmp_path, INFO, shard_episodes=3)
    with pytest.raises(ActionError, match="outside the action space"):
        collect(writer, FakeGame, lambda rng: behaviour.Constant(7, "wrong"), steps=9, seed=0)


def test_numbers_out_of_range_are_errors(tmp_path):
    writer = DatasetWriter(tmp_path, INFO)
    with pytest.raises(DataError, match="steps=0"):
        collect(writer, FakeGame, draw_player, steps=0, seed=0)
    with pytest.raises(DataError, match="processes=0"):
        collect(writer, FakeGame, draw_player, steps=1, seed=0, processes=0)


# -- players -----------------------------------------------------------------------------------

NAMES = ("stay", "right", "left")
NOTHING = {"labels": np.zeros((64, 64), np.uint8)}
FRAME = np.zeros((64, 64, 3), np.uint8)


def play(player, steps: int = 200, info=NOTHING) -> list[int]:
    return [player.act(FRAME, info) for _ in range(steps)]


@pytest.mark.parametrize("kind", sorted(MIX))
def test_players_are_functions_of_their_dice(kind):
    for seed in range(5):
        one, other = (draw_policy(np.random.default_rng(seed), NAMES, 2, kind) for _ in range(2))
        actions = play(one)
        assert actions == play(other)
        assert set(actions) <= {0, 1, 2}
        assert one.name == other.name


def test_the_mix_has_every_kind_of_player():
    names = {draw_policy(np.random.default_rng(i), NAMES, 2).name.split("-")[0] for i in range(300)}
    assert names == {"uniform", "sticky", "sweep", "evade", "switch", "noop", "left", "right"}
    blind = {draw_policy(np.random.default_rng(i), NAMES, None).name[:5] for i in range(300)}
    assert "evade" not in blind


def test_named_actions_are_the_environments():
    names = ("left", "stay", "right")
    seen = {}
    for seed in range(20):
        player = draw_policy(np.random.default_rng(seed), names, 2, "constant")
        seen[player.name] = set(play(player))
    assert seen == {"left": {0}, "right": {2}}
    assert set(play(draw_policy(np.random.default_rng(0), names, 2, "noop"))) == {1}


def test_sweeps_turn_after_their_period():
    assert play(Sweep((2, 1), 3, 0.0), 8) == [2, 2, 2, 1, 1, 1, 2, 2]
    jittered = play(Sweep((2, 1), 10, 0.5, np.random.default_rng(0)), 400)
    turns = np.flatnonzero(np.diff(jittered)) + 1
    lengths = np.diff(turns)
    assert lengths.min() >= 5
    assert lengths.max() <= 15
    assert len(set(lengths.tolist())) > 3


def test_sticky_players_repeat_themselves():
    def repeats(stickiness: float) -> float:
        actions = play(behaviour.Sticky(3, stickiness, np.random.default_rng(0)), 2000)
        return float((np.diff(actions) == 0).mean())

    assert abs(repeats(0.0) - 1 / 3) < 0.05
    assert abs(repeats(0.9) - (0.9 + 0.1 / 3)) < 0.03


@pytest.mark.parametrize(("columns", "name"), [(slice(40, 50), "left"), (slice(10, 20), "right")])
def test_evaders_step_away_from_a_near_fireball(columns, name):
    labels = np.zeros((64, 64), np.uint8)
    labels[20:50, columns] = 2
    evader = behaviour.Evade(2, 1, 2, 0.0, np.random.default_rng(0))
    assert set(play(evader, 10, {"labels": labels})) == {NAMES.index(name)}
    labels[labels == 2] = 1  # monsters are no threat in themselves
    assert len(set(play(evader, 100, {"labels": labels}))) == 2


def test_agents_play_with_some_random_actions():
    space = INFO.action_spec.space
    sweep = make_policy("sweep-20", space, NAMES)
    exact = play(Agent(sweep, space, 0.0, np.random.default_rng(0)), 60)
    assert exact == [2] * 20 + [1] * 20 + [2] * 20
    noisy = play(Agent(sweep, space, 0.2, np.random.default_rng(0)), 60)
    assert 1 <= sum(a != b for a, b in zip(exact, noisy, strict=True)) <= 20


# -- command -----------------------------------------------------------------------------------


def test_an_unknown_environment_is_an_error(tmp_path):
    with pytest.raises(WorldNotFoundError, match="doom-take-cover"):
        command.main(["doom-take-cove", "--out", str(tmp_path / "set")])
    with pytest.raises(WorldNotFoundError, match=r"Did you mean .*CartPole-v1"):
        command.main(["CartPol-v1", "--out", str(tmp_path / "set")])
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_player_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="nobody"):
        command.main(["doom-take-cover", "--policy", "nobody", "--out", str(tmp_path / "set")])
    assert not (tmp_path / "set").exists()


def test_the_description_of_a_recording_names_its_source():
    info = command.dataset_info(DOOM_TAKE_COVER)
    assert info.action_spec.describe(np.float32([1])) == "right"
    assert info.source["environment"] == "VizdoomTakeCover-v1"
    assert info.source["preprocessing"]["frame_shape"] == [64, 64, 3]
    assert info.label_classes == {0: "background", 1: "monster", 2: "fireball"}


@pytest.mark.slow
def test_the_command_records_the_real_game(tmp_path, monkeypatch, capsys):
    pytest.importorskip("vizdoom")
    monkeypatch.chdir(tmp_path)
    arguments = ["doom-take-cover", "--steps", "60", "--processes", "1", "--shard-episodes", "2"]
    assert command.main([*arguments, "--policy", "noop", "constant"]) == 0
    assert "episodes" in capsys.readouterr().out
    store = open_store(tmp_path / "data/doom-take-cover")
    assert store.frame_shape == (64, 64, 3)
    assert store.state_names[0] == "health"
    for index in range(store.num_episodes):
        episode = store.episode(index)
        assert episode.info["policy"] in ("noop", "left", "right")
        assert episode.terminated[-1]
        assert len(episode.frames) == len(episode.actions)  # a death has no frame
        assert episode.frames.max(axis=(1, 2, 3)).min() > 0
        assert (episode.rewards[:-1] == 4).all()
