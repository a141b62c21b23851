"""Sessions: what commands and steps do, without any window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image

from agents.policies import make_policy
from nfd_env.env import NFDWorldEnv
from nfd_env.path_file import load_path
from nfd_env.play.session import COMMANDS, Session
from tests.toy import ToyGame, ToyWorld, read
from tests.world_model.tiny import minecraft_world
from world_model.action_spec import ActionSpec
from world_model.errors import ActionError, ConfigError
from world_model.minecraft.formats import FORMATS
from world_model.provenance import read_provenance
from world_model.video import Film


def open_session(**options: Any) -> Session:
    world = options.pop("world", None) or ToyWorld()
    return Session(world, **{"seed": 3, "make_real": ToyGame, **options})


def paddle(session: Session) -> int:
    return int(read(session.frame[None])[0][0])


def test_keys_play_the_world() -> None:
    session = open_session()
    env = ToyGame()
    frames = [env.reset(seed=3)[0]]
    total = 0.0
    for key, action in (("a", 1), ("right", 2), (None, 0), ("a", 1), ("d", 2), ("d", 2)):
        assert session.tick([key] if key else [])
        frame, reward, *_ = env.step(action)
        frames.append(frame)
        total += reward
        assert np.array_equal(session.frame, frame)
        assert (session.reward, session.total) == (reward, total)
    assert dict(session.lines())["action"] == "right"
    assert session.steps == len(session.path) == 6


def test_an_end_waits_for_a_reset() -> None:
    session = open_session()
    while session.tick(["a"]):
        assert session.steps < 50
    assert session.ended
    assert "has ended" in session.message
    frame, steps = session.frame, session.steps
    assert not session.tick(["a"])
    session.do("step")
    assert (session.steps, session.frame is frame) == (steps, True)
    session.paused = False
    session.do("reset")
    assert (session.steps, session.ended, session.total) == (0, False, 0.0)
    assert session.tick([])


def test_pause_and_single_steps() -> None:
    session = open_session()
    session.do("pause")
    assert not session.tick(["a"])
    before = paddle(session)
    session.do("step", ["d"])
    assert (session.steps, session.paused) == (1, True)
    assert paddle(session) == min(before + 1, 6)
    session.do("pause")
    assert session.tick([])


def test_branches_repeat_or_part() -> None:
    session = open_session(endless=True)
    for key in "aad":
        session.tick([key])
    session.do("save")
    saved = session.frame.copy()
    futures = []
    for keys in ("dd", "dd", "aa"):
        session.do("restore")
        assert np.array_equal(session.frame, saved)
        assert session.steps == len(session.path) == 3
        for key in keys:
            session.tick([key])
        futures.append(session.frame.copy())
    assert np.array_equal(futures[0], futures[1])
    assert not np.array_equal(futures[0], futures[2])
    assert [int(v[0]) for v, _ in session.path.steps()] == [1, 1, 2, 1, 1]


def test_a_saved_path_leads_to_the_same_frame(tmp_path: Path) -> None:
    session = open_session(out=tmp_path, endless=True)
    for key in "aadsdda":
        session.tick([key])
    session.do("path")
    path = load_path(tmp_path / "play-001.json")
    path.check(session.dream.world.model_id, session.spec)
    frame, _ = session.dream.reset(path.seed)
    for vector, _ in path.steps():
        frame = session.dream.step(vector)[0]
    assert np.array_equal(frame, session.frame)


def test_settings_change_in_the_midst() -> None:
    session = open_session(endless=True)
    session.tick(["a"])
    frame = session.frame.copy()
    session.do("sampling")
    assert session.message == ""
    assert session.sampling_steps == 2
    assert np.array_equal(session.dream.env.core.observation(0), frame)
    session.tick([])
    assert [n for _, n in session.path.steps()] == [None, 2]
    seen = []
    for _ in range(3):
        session.do("sampling")
        seen.append(session.sampling_steps)
    assert seen == [4, 8, 1]  # 1 is the toy's own
    assert session.dream.settings["sampling_steps"] is None


def test_the_policy_takes_the_wheel() -> None:
    space = spaces.Discrete(3)
    session = open_session(policy=make_policy("left", space, ["stay", "left", "right"]))
    session.tick(["d"])
    assert session.action == "right"
    session.do("driver")
    session.tick(["d"])
    assert session.action == "left"
    assert dict(session.lines())["at the wheel"] == "left"
    session.do("driver")
    session.tick(["d"])
    assert session.action == "right"


def test_the_real_game_and_back() -> None:
    session = open_session()
    session.tick(["a"])
    session.do("stage")
    assert (session.stage, session.steps) == ("real", 0)
    session.tick(["d"])
    assert session.real is not None
    assert np.array_equal(session.frame, session.real.render())
    for command in ("save", "restore", "path"):
        session.do(command)
        assert "only imagined worlds can" in session.message
    session.do("stage")
    assert (session.stage, session.steps, session.message) == ("imagined", 0, "")
    assert session.tick([])
    session.close()


def test_films_and_pictures_say_what_they_are(tmp_path: Path) -> None:
    session = open_session(out=tmp_path / "new", endless=True)
    session.do("record")
    for _ in range(4):
        session.tick([])
    session.do("record")
    session.do("picture")
    film, picture = tmp_path / "new/play-001.mp4", tmp_path / "new/play-001.png"
    assert session.message == f"picture: {picture}"
    with av.open(str(film)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5
    for file in (film, picture):
        said = read_provenance(file)
        assert said is not None
        assert (said.world, said.seed, said.player) == ("toy@1#000000000000", 3, "a person")
    with Image.open(picture) as image:
        assert np.array_equal(np.asarray(image)[::20, ::20], session.frame)
    session.do("record")
    session.do("stage")  # ends the film
    session.do("picture")
    assert (tmp_path / "new/play-002.mp4").is_file()
    assert read_provenance(tmp_path / "new/play-002.png") is None
    session.close()


def test_what_cannot_be_done_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    session = open_session(make_real=None, out=tmp_path / "file")
    for command, words in (
        ("restore", "no moment has been remembered"),
        ("driver", "there is no policy"),
        ("stage", "does not say which real environment"),
        ("record", "could not write"),
        ("picture", "could not write"),
        ("path", "could not write"),
    ):
        session.do(command)
        assert words in session.message, command
        assert session.tick([])
    with pytest.raises(ConfigError, match="no command 'fly'"):
        session.do("fly")


def test_a_full_disk_ends_the_film_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = open_session(out=tmp_path, endless=True)
    session.do("record")
    session.tick([])

    def full(self: Film, frame: np.ndarray) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Film, "add", full)
    assert session.tick([])
    assert "No space left" in session.message
    assert not session.keeper.filming
    assert list(tmp_path.iterdir()) == []
    assert session.tick([])


def test_games_that_do_not_fit_or_are_not_there_are_told() -> None:
    def missing() -> gym.Env:
        raise ModuleNotFoundError("No module named 'vizdoom'")

    session = open_session(make_real=missing)
    session.do("stage")
    assert "vizdoom" in session.message
    session = open_session(make_real=lambda: gym.make("CartPole-v1"))
    session.do("stage")
    assert "the real game takes Discrete(2)" in session.message
    assert session.stage == "imagined"


def test_actions_that_no_key_can_play_need_a_policy() -> None:
    world = ToyWorld()
    world.action_spec = ActionSpec.from_space(spaces.Discrete(50))
    with pytest.raises(ActionError, match=r"50 choices without names.*--policy"):
        open_session(world=world)
    session = open_session(world=world, policy=make_policy("uniform", spaces.Discrete(3)))
    assert session.driver == "policy"
    session.do("driver")
    assert "there is no key for its actions" in session.message


def test_quit_and_keys() -> None:
    session = open_session()
    session.do("keys")
    assert not session.shows_keys
    session.do("quit")
    assert not session.running
    assert set(COMMANDS) >= {"quit", "keys"}


def test_the_actions_of_another_mode_are_played_as_an_agent_would() -> None:
    """With the discrete table camera and buttons are whole choices, for keys and a policy alike."""
    world = minecraft_world()
    settings: dict[str, Any] = {"endless": True, "sampling_steps": 1, "speculation": "off"}
    labels = list(FORMATS["discrete"].spec.groups[0].labels)
    env = NFDWorldEnv(world, action_mode="discrete", **settings)
    policy = make_policy("forward", FORMATS["discrete"].spec.space, tuple(labels))
    session = open_session(
        world=world, policy=policy, make_real=None, action_mode="discrete", **settings
    )
    env.reset(seed=3)
    for keys, action in ((["w", "space"], "forward+jump"), (["right"], "turn right")):
        session.tick(keys)
        assert np.array_equal(session.frame, env.step(labels.index(action))[0])
    session.do("driver")
    session.tick([])
    assert np.array_equal(session.frame, env.step(labels.index("forward"))[0])
    # What is kept is in the world's own actions.
    assert {len(stretch.action) for stretch in session.path.actions} == {world.action_spec.dim}
    session.close()
    with pytest.raises(ConfigError, match="action_mode='discrete'"):
        open_session(action_mode="discrete")


def test_warming_up_changes_nothing() -> None:
    session, other = open_session(), open_session()
    session.warm_up()
    for _ in range(3):
        session.tick(["a"])
        other.tick(["a"])
    assert np.array_equal(session.frame, other.frame)
    assert (session.steps, session.total, len(session.path)) == (3, other.total, 3)
