"""``nfd film``: what is filmed is what was imagined, beside what really happened."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from gymnasium import spaces
from PIL import ImageDraw
from rich.console import Console

from agents.environments import TRUST
from agents.filming.command import FilmOptions, _played, run
from agents.filming.picture import Layout
from agents.filming.shots import (
    Shot,
    by_script,
    imagined_shots,
    path_shots,
    played_shots,
    recorded_shots,
)
from nfd_env.action_adapter import find_adapter
from nfd_env.path_file import WorldPath
from nfd_env.play.dream import Dream
from tests.toy import FRAME_SHAPE, STATE_NAMES, ToyGame, ToyWorld, read, record_episodes
from tests.world_model.tiny import minecraft_world, tiny_world
from world_model.action_spec import ActionSpec
from world_model.data import open_store, write_dataset
from world_model.data.metadata import DatasetInfo
from world_model.errors import ConfigError, DataError, NFDError
from world_model.minecraft.formats import FORMATS
from world_model.provenance import read_provenance

SPEC = ToyWorld().action_spec


def film(tmp_path: Path, **options: Any) -> list[np.ndarray]:
    """The pictures of a film of the toy world, decoded."""
    out = tmp_path / "film.mp4"
    count = run(FilmOptions(out=out, **options), Console(quiet=True), ToyWorld())
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(pictures) == count
    return pictures


def script(*pairs: tuple[int, int]) -> list[tuple[np.ndarray, int]]:
    return [(np.array([action], np.float32), count) for action, count in pairs]


def test_a_script_plays_its_actions_in_order() -> None:
    dream = Dream(ToyWorld(), endless=True)
    shots = list(imagined_shots(dream, by_script(script((1, 2), (2, 3))), seed=3))
    env = ToyGame(max_misses=99, max_episode_steps=None)
    frames = [env.reset(seed=3)[0], *(env.step(a)[0] for a in (1, 1, 2, 2, 2))]
    assert np.array_equal(np.stack([shot.imagined for shot in shots]), np.stack(frames))
    assert [shot.step for shot in shots] == [0, 1, 2, 3, 4, 5]


def test_after_an_end_the_next_episode_begins() -> None:
    dream = Dream(ToyWorld())
    shots = list(imagined_shots(dream, by_script(script((1, 100))), seed=0))
    steps = [shot.step for shot in shots]
    assert steps.count(0) == 1 + sum(shot.ended for shot in shots) > 1
    assert sum(step > 0 for step in steps) == 100


def test_a_path_repeats_what_was_played() -> None:
    dream = Dream(ToyWorld(), endless=True)
    path = WorldPath("toy@1#000000000000", seed=5)
    frames = [dream.reset(5)[0]]
    for action in (1, 2, 2, 0, 1):
        vector = np.array([action], np.float32)
        path.add(vector, sampling_steps=2 if action == 0 else None)
        frames.append(dream.step(vector)[0])
    shots = list(path_shots(Dream(ToyWorld(), endless=True), path))
    assert np.array_equal(np.stack([shot.imagined for shot in shots]), np.stack(frames))


def test_the_real_game_is_imagined_along() -> None:
    dream = Dream(ToyWorld(max_misses=99), endless=True)
    shots = list(played_shots(dream, ToyGame, by_script(script((1, 3), (2, 7))), seed=4))
    assert all(shot.real is not None and shot.given == (shot.step < 4) for shot in shots)
    assert len(shots) == 11
    # Columns of new balls come from the seed, which the dream does not know; the rest it does.
    real, dreamt = (
        read(np.stack([getattr(shot, name) for shot in shots]))[:2] for name in ("real", "imagined")
    )
    assert np.array_equal(real, dreamt)
    assert [int(s.action[0]) for s in shots if s.action is not None][:4] == [1, 1, 1, 2]


def test_films_are_as_long_as_asked(tmp_path: Path) -> None:
    assert len(film(tmp_path, steps=7)) == 7
    said = read_provenance(tmp_path / "film.mp4")
    assert said is not None
    assert (said.world, said.player, said.steps) == ("toy@1#000000000000", "uniform", 7)
    # Faststart: the table of contents comes before the pictures.
    data = (tmp_path / "film.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_films_beside_the_real_game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST, "1")
    alone = film(tmp_path, steps=6, policy="sweep-2")[0].shape
    pictures = film(tmp_path, steps=6, policy="sweep-2", beside="real")
    assert pictures[0].shape[1] > 2 * alone[1]
    said = read_provenance(tmp_path / "film.mp4")
    assert said is not None
    assert said.with_real


def test_recorded_episodes_are_imagined_along(tmp_path: Path) -> None:
    data = tmp_path / "data"
    info = DatasetInfo(SPEC, FRAME_SHAPE, fps=10, state_names=STATE_NAMES)
    write_dataset(data, record_episodes(2), info)
    store = open_store(data)
    dream = Dream(ToyWorld(max_misses=99), endless=True)
    shots = list(islice(recorded_shots(dream, store, seed=0), 60))
    assert [shot.step for shot in shots].count(0) >= 2  # one episode after the other
    real, dreamt = (
        read(np.stack([getattr(shot, name) for shot in shots]))[:2] for name in ("real", "imagined")
    )
    assert np.array_equal(real, dreamt)
    assert len(film(tmp_path, beside=str(data), steps=9)) == 9
    other = ToyWorld(frame_shape=(8, 8, 3))
    with pytest.raises(DataError, match=r"frames of shape \(16, 16, 3\)"):
        next(recorded_shots(Dream(other), store, seed=0))


def test_scripts_and_paths_give_the_length(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("left,4\nright,3\n")
    assert len(film(tmp_path, actions=tmp_path / "a.csv")) == 8
    path = WorldPath("toy@1#000000000000", seed=5)
    for _ in range(5):
        path.add(np.array([1], np.float32))
    path.save(tmp_path / "p.json")
    assert len(film(tmp_path, path=tmp_path / "p.json")) == 6
    assert len(film(tmp_path, path=tmp_path / "p.json", steps=3, captions=False)) == 3


def test_the_mark_is_on_imagined_frames_only() -> None:
    frame = np.full((16, 16, 3), 90, np.uint8)
    layout = Layout(SPEC, "toy@1", 4, captions=False, mark=True)
    plain = layout.draw(Shot(frame, frame, None, 0, True))
    marked = layout.draw(Shot(frame, frame, None, 5, False))
    changed = np.argwhere((plain != marked).any(axis=2))
    assert len(changed)
    assert changed[:, 1].min() > 64


@pytest.mark.parametrize(
    ("space", "action", "caption"),
    [
        (spaces.Discrete(5), 3, "Action 3"),
        (spaces.MultiBinary(4), [0, 1, 0, 1], "Action 1=on Action 3=on"),
    ],
)
def test_captions_say_in_words_what_was_done(
    space: spaces.Space[Any], action: Any, caption: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda *args: written.append(args[2]))
    spec = ActionSpec.from_space(space)
    frame = np.zeros((16, 16, 3), np.uint8)
    Layout(spec, "toy@1", 24).draw(Shot(frame, None, spec.encode(action), 5, given=False))
    assert caption in written


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "uniform", "actions": Path("a")}, "--policy and --actions both say"),
        ({"path": Path("p"), "beside": "real"}, "nothing real --beside it"),
        ({"beside": "data", "policy": "left"}, "shows recorded actions"),
        ({"beside": "no/such/folder"}, "no/such/folder"),
        ({"steps": 0}, "--steps 0"),
        ({"scale": 0}, "--scale 0"),
        ({"fps": float("nan")}, "--fps nan"),
        ({"out": Path("film.avi")}, "films are mp4"),
        ({"policy": "jump"}, "'jump' is neither"),
        ({"actions": Path("none.csv")}, "cannot be read"),
        ({"path": Path("none.json")}, "cannot be read"),
    ],
)
def test_mistakes_write_nothing(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    out = options.get("out", Path("film.mp4"))
    with pytest.raises(NFDError, match=message):
        run(FilmOptions(**{**options, "out": tmp_path / out}), Console(quiet=True), ToyWorld())
    assert list(tmp_path.iterdir()) == []


def test_a_film_is_imagined_as_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []

    class Watched(Dream):
        def __init__(self, world: Any, **settings: Any) -> None:
            made.append(settings)
            super().__init__(world, **{**settings, "compile": None})

    monkeypatch.setattr("agents.filming.command.Dream", Watched)
    wanted = FilmOptions(
        out=tmp_path / "film.mp4", steps=2, sampling_steps=1, compile=True, precision="bfloat16"
    )
    run(wanted, Console(quiet=True), tiny_world())
    run(FilmOptions(out=tmp_path / "film.mp4", steps=2), Console(quiet=True), ToyWorld())
    asked = [{name: settings[name] for name in ("compile", "precision")} for settings in made]
    assert asked == [
        {"compile": True, "precision": "bfloat16"},
        {"compile": None, "precision": None},  # other rollouts know of neither
    ]


def test_a_folder_in_the_way_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").mkdir()
    with pytest.raises(NFDError, match="is a folder"):
        run(FilmOptions(out=tmp_path / "film.mp4"), Console(quiet=True), ToyWorld())


@pytest.mark.parametrize("who", [{"policy": "forward"}, {"actions": "forward,6\n"}])
def test_a_policy_or_a_script_may_have_the_actions_of_another_mode(
    tmp_path: Path, who: dict[str, Any]
) -> None:
    world = minecraft_world()
    if "actions" in who:
        (tmp_path / "moves.csv").write_text("action,steps\n" + who["actions"])
        who = {"actions": tmp_path / "moves.csv"}
    settings = {"sampling_steps": 1, "steps": 4}
    options = FilmOptions(out=tmp_path / "f.mp4", action_mode="discrete", **settings, **who)
    with closing(Dream(world, endless=True, sampling_steps=1)) as dream:
        _, _, shots = _played(options, dream)
        seen = list(islice(shots, 4))
    label = FORMATS["discrete"].spec.groups[0].labels.index("forward")
    forward = find_adapter(world, "discrete").encode(label)
    assert all(np.array_equal(shot.action, forward) for shot in seen[1:])
    assert run(options, Console(quiet=True), world) == 4


def test_recorded_actions_have_no_other_mode(tmp_path: Path) -> None:
    options = FilmOptions(out=tmp_path / "f.mp4", action_mode="discrete", beside="data", steps=4)
    with pytest.raises(ConfigError, match="--action-mode discrete is for a policy"):
        run(options, Console(quiet=True), minecraft_world())
