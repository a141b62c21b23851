"""The window, on a display that does not exist: every key does what the window says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gymnasium import spaces

from agents.policies import make_policy
from nfd_env.key_bindings import KEYS as WORLD_KEYS
from nfd_env.play import window as window_module
from nfd_env.play.session import COMMANDS, Session
from nfd_env.play.window import KEYS, PlayWindow
from tests.toy import ToyGame, ToyWorld
from world_model.errors import NFDError

pygame = pytest.importorskip("pygame")
CODES = {"return": pygame.K_RETURN, "escape": pygame.K_ESCAPE}
CODES |= {f"f{n}": getattr(pygame, f"K_F{n}") for n in range(1, 13)}


@pytest.fixture
def window(tmp_path: Path) -> Iterator[PlayWindow]:
    policy = make_policy("left", spaces.Discrete(3), ["stay", "left", "right"])
    session = Session(
        ToyWorld(), policy=policy, make_real=ToyGame, seed=3, out=tmp_path, endless=True
    )
    opened = PlayWindow(session, fps=1000)
    yield opened
    session.close()
    opened.close()


def press(window: PlayWindow, key: str, kind: int = pygame.KEYDOWN) -> None:
    code = CODES[key] if key in CODES else pygame.key.key_code(key)
    pygame.event.post(pygame.event.Event(kind, key=code))


EFFECTS: dict[str, tuple[Callable[[Session], object], object]] = {
    "reset": (lambda s: s.steps, 1),  # from 4: a new episode, and its first step
    "pause": (lambda s: (s.paused, s.steps), (True, 4)),
    "step": (lambda s: (s.paused, s.steps), (True, 5)),
    "save": (lambda s: s.message, "remembered step 4"),
    "restore": (lambda s: s.message, "no moment has been remembered yet."),
    "sampling": (lambda s: s.dream.settings["sampling_steps"], 2),
    "stage": (lambda s: s.stage, "real"),
    "driver": (lambda s: (s.driver, s.action), ("policy", "left")),
    "record": (lambda s: (s.message, s.keeper.frames), ("filming", 2)),
    "picture": (lambda s: [f.name for f in s.keeper.folder.iterdir()], ["play-001.png"]),
    "path": (lambda s: [f.name for f in s.keeper.folder.iterdir()], ["play-001.json"]),
    "keys": (lambda s: s.shows_keys, False),
    "quit": (lambda s: s.running, False),
}


@pytest.mark.parametrize("key", [key for key, command in KEYS.items() if command in EFFECTS])
def test_every_key_does_what_it_says(window: PlayWindow, key: str) -> None:
    window.loop(4)
    assert window.session.steps == 4
    press(window, key)
    window.loop(1)
    seen, expected = EFFECTS[KEYS[key]]
    assert seen(window.session) == expected


def test_speculation_is_asked_for(window: PlayWindow, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = []
    monkeypatch.setattr(window.session.dream, "change", lambda **kw: changed.append(kw))
    press(window, "f7")
    window.loop(1)
    assert changed == [{"speculation": "off"}]


def test_all_commands_have_a_key_that_no_world_uses() -> None:
    assert sorted(KEYS.values()) == sorted(COMMANDS)
    assert not set(KEYS) & set(WORLD_KEYS)
    assert set(EFFECTS) | {"speculation"} == set(COMMANDS)


@pytest.mark.parametrize(("key", "action"), [("a", "left"), ("left", "left"), ("d", "right")])
def test_keys_of_the_world_are_held(window: PlayWindow, key: str, action: str) -> None:
    press(window, key)
    window.loop(2)
    assert window.session.action == action
    press(window, key, pygame.KEYUP)
    window.loop(1)
    assert window.session.action == "stay"


def test_a_short_tap_counts_once(window: PlayWindow) -> None:
    press(window, "a")
    press(window, "a", pygame.KEYUP)
    window.loop(1)
    assert window.session.action == "left"
    window.loop(1)
    assert window.session.action == "stay"


def test_a_lost_focus_lets_go(window: PlayWindow) -> None:
    press(window, "a")
    window.loop(1)
    pygame.event.post(pygame.event.Event(pygame.WINDOWFOCUSLOST))
    window.loop(1)
    assert window.session.action == "stay"


def test_the_mouse_is_added_up(window: PlayWindow) -> None:
    window.session.do("pause")
    for rel in ((3, -1), (4, 2)):
        pygame.event.post(pygame.event.Event(pygame.MOUSEMOTION, rel=rel, pos=(0, 0)))
    pygame.event.post(pygame.event.Event(pygame.MOUSEBUTTONDOWN, button=3, pos=(0, 0)))
    window.loop(1)
    assert (window.mouse, list(window.held)) == ([7, 1], ["mouse right"])
    window.session.do("pause")
    window.loop(1)
    assert window.mouse == [0, 0]


def test_the_panel_names_everything(window: PlayWindow) -> None:
    window.loop(2)
    text = dict(window.text())
    assert text["a / left"] == "left"
    assert text["F10"] == COMMANDS["record"]
    assert {"FPS", "action", "reward", "return", "uncertainty", "speculation"} <= set(text)
    shown = pygame.surfarray.array3d(window.screen)
    assert (shown[: window.frame_size[0], : window.frame_size[1]] > 150).any()
    window.session.do("keys")
    assert "a / left" not in dict(window.text())


def test_closing_the_window_ends_the_session(window: PlayWindow) -> None:
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    window.loop(50)
    assert not window.session.running
    assert window.session.steps <= 1


def test_without_a_display_the_browser_is_named(
    window: PlayWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SDL_VIDEODRIVER")
    monkeypatch.setattr(pygame.display, "get_driver", lambda: "offscreen")
    with pytest.raises(NFDError, match=r"no display .* nfd play --web"):
        window_module._pygame()
