"""A window for a session: shows it, and turns keys and mouse into commands and steps."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled

from nfd_env.play.session import COMMANDS, Session
from world_model.errors import NFDError

KEYS: dict[str, str] = {
    "return": "reset",
    "f1": "keys",
    "f2": "pause",
    "f3": "step",
    "f4": "save",
    "f5": "restore",
    "f6": "sampling",
    "f7": "speculation",
    "f8": "stage",
    "f9": "driver",
    "f10": "record",
    "f11": "picture",
    "f12": "path",
    "escape": "quit",
}
"""Keys of the commands; worlds never use these."""
PIXELS, PANEL, LINE = 512, 330, 19
INK, FAINT, ACCENT, PAPER = (240, 240, 245), (140, 145, 160), (255, 176, 32), (18, 20, 28)
_NAMES = {"left shift": "shift", "right shift": "shift", "enter": "return"}
_BUTTONS = {1: "mouse left", 2: "mouse middle", 3: "mouse right"}


class PlayWindow:
    """A window, open until it is closed.

    Args:
        session: what to show; stays the caller's to close.
        fps: steps per second.

    Raises:
        DependencyNotInstalled: without pygame.
        NFDError: if there is no display.
    """

    def __init__(self, session: Session, fps: float) -> None:
        self.session, self.fps = session, fps
        self.pg = _pygame()
        height, width = session.frame.shape[:2]
        scale = max(1, round(PIXELS / max(height, width)))
        self.frame_size = (width * scale, height * scale)
        self.clock = self.pg.time.Clock()
        room = max(self.frame_size[1], PIXELS)
        self.rows = (room - 16) // LINE
        columns = -(-len(self.text()) // self.rows)
        size = (self.frame_size[0] + columns * PANEL, room)
        try:
            self.screen = self.pg.display.set_mode(size)
        except self.pg.error as error:
            raise NFDError(_no_display(str(error))) from error
        self.pg.display.set_caption(f"NFD-World {session.dream.world.config.name}")
        self.font = self.pg.font.Font(None, LINE + 2)
        self.held: dict[str, None] = {}
        """Keys that are held, in the order in which they were pressed."""
        self.tapped: dict[str, None] = {}
        """Keys that were pressed since the last step, even if they are not held any more."""
        self.mouse = [0.0, 0.0]
        """Pixels that the mouse moved since the last step."""
        if session.controls is not None and session.controls.uses_mouse:
            self.pg.event.set_grab(True)
            self.pg.mouse.set_visible(False)

    def loop(self, steps: int | None = None) -> None:
        """Plays until the session is over, or for so many rounds."""
        while self.session.running and (steps is None or steps > 0):
            for event in self.pg.event.get():
                self.handle(event)
            if self.session.tick(self._keys(), self.mouse):
                self._spent()
            self.draw()
            self.clock.tick(self.fps)
            steps = None if steps is None else steps - 1

    def handle(self, event: Any) -> None:
        """Takes an event of pygame."""
        pg = self.pg
        if event.type == pg.QUIT:
            self.session.do("quit")
        elif event.type == pg.WINDOWFOCUSLOST:
            self.held.clear()  # nobody tells of keys that are let go elsewhere
        elif event.type == pg.MOUSEMOTION:
            self.mouse[0] += event.rel[0]
            self.mouse[1] += event.rel[1]
        elif event.type in (pg.KEYDOWN, pg.KEYUP):
            name = pg.key.name(event.key)
            self._key(_NAMES.get(name, name), event.type == pg.KEYDOWN)
        elif event.type in (pg.MOUSEBUTTONDOWN, pg.MOUSEBUTTONUP) and event.button in _BUTTONS:
            self._key(_BUTTONS[event.button], event.type == pg.MOUSEBUTTONDOWN)

    def _key(self, name: str, down: bool) -> None:
        if down and name in KEYS:
            self.session.do(KEYS[name], self._keys(), self.mouse)
            if KEYS[name] in ("step", "pause"):
                self._spent()  # what the mouse did in a break does not count
        elif down:
            self.held[name] = self.tapped[name] = None
        else:
            self.held.pop(name, None)

    def _keys(self) -> list[str]:
        """What counts for the next step: the latest last."""
        return [*(key for key in self.tapped if key not in self.held), *self.held]

    def _spent(self) -> None:
        self.tapped.clear()
        self.mouse = [0.0, 0.0]

    def text(self) -> list[tuple[str, str]]:
        """What the panel says, as (name, value); ("", "") is a gap."""
        session = self.session
        lines = [("FPS", f"{self.clock.get_fps():.0f} of {self.fps:g}"), *session.lines()]
        if session.shows_keys:
            lines.append(("", ""))
            lines += [(_shown(key), COMMANDS[command]) for key, command in KEYS.items()]
            lines.append(("", ""))
            bindings = session.controls.bindings if session.controls is not None else ()
            lines += [(" / ".join(binding.keys), binding.does) for binding in bindings]
            if session.controls is not None and session.controls.uses_mouse:
                lines.append(("mouse", "turn"))
        else:
            lines.append(("F1", COMMANDS["keys"]))
        return lines

    def draw(self) -> None:
        """Draws everything."""
        pg, session = self.pg, self.session
        self.screen.fill(PAPER)
        picture = pg.surfarray.make_surface(np.ascontiguousarray(session.frame.swapaxes(0, 1)))
        self.screen.blit(pg.transform.scale(picture, self.frame_size), (0, 0))
        for place, (name, value) in enumerate(self.text()):
            column, row = divmod(place, self.rows)
            x, y = self.frame_size[0] + 12 + column * PANEL, 8 + row * LINE
            self._write(name, (x, y), FAINT, 126)
            self._write(value, (x + 132, y), INK, PANEL - 150)
        if session.message:
            self._banner(session.message + (" - enter: again" if session.ended else ""))
        pg.display.flip()

    def _banner(self, message: str) -> None:
        words, rows = message.split(), [""]
        for word in words:
            if self.font.size(f"{rows[-1]} {word}")[0] > self.frame_size[0] - 16:
                rows.append("")
            rows[-1] = f"{rows[-1]} {word}".strip()
        top = self.frame_size[1] - LINE * len(rows) - 8
        self.screen.fill(PAPER, (0, top - 4, self.frame_size[0], self.frame_size[1] - top + 4))
        for number, row in enumerate(rows):
            self._write(row, (8, top + LINE * number), ACCENT, self.frame_size[0] - 12)

    def _write(self, text: str, place: tuple[float, float], colour: Any, width: int) -> None:
        if text:
            drawn = self.font.render(text, True, colour)
            self.screen.blit(drawn, place, (0, 0, width, drawn.get_height()))

    def close(self) -> None:
        """Closes the window."""
        self.pg.quit()


def _shown(key: str) -> str:
    return {"return": "Enter", "escape": "Esc"}.get(key, key.upper())


def _pygame() -> Any:
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        import pygame
    except ImportError as error:
        raise DependencyNotInstalled(
            'a window needs pygame-ce, which is not installed: pip install "nfd-world[play]". '
            "`nfd play --web` plays in a browser without it."
        ) from error
    asked = os.environ.get("SDL_VIDEODRIVER")
    try:
        pygame.display.init()
    except pygame.error as error:
        raise NFDError(_no_display(str(error))) from error
    if pygame.display.get_driver() in ("dummy", "offscreen") and not asked:
        pygame.display.quit()
        raise NFDError(_no_display("no video device"))
    pygame.font.init()
    return pygame


def _no_display(reason: str) -> str:
    return f"there is no display for a window here ({reason}). Play in a browser: nfd play --web"
