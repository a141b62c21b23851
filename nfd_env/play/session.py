"""What happens while a person plays, without a window: a state that commands and steps change.

A session knows nothing of screens, keyboards and clocks. Whoever shows it gives it commands
(:data:`COMMANDS`) and, for each step, what keys are held; and reads off what to show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.error import Error as GymnasiumError

from nfd_env.action_adapter import find_adapter
from nfd_env.controls import controls_or_reason
from nfd_env.path_file import WorldPath
from nfd_env.play.dream import Dream, Moment
from nfd_env.play.keeping import Keeper
from nfd_env.snapshot import Snapshot
from world_model.errors import ActionError, ConfigError, NFDError
from world_model.provenance import Provenance

COMMANDS: dict[str, str] = {
    "reset": "new episode",
    "pause": "pause, go on",
    "step": "one step, and pause",
    "save": "remember this moment",
    "restore": "back to it: branch",
    "sampling": "denoising steps",
    "speculation": "speculation",
    "stage": "imagined, real",
    "driver": "you, the policy",
    "record": "film: start, stop",
    "picture": "save a picture",
    "path": "save the path",
    "keys": "show, hide the keys",
    "quit": "quit",
}
"""What can be asked of a session, and what it does in a few words."""

SAMPLING = (1, 2, 4, 8)
"""Numbers of denoising steps to go through, besides the world's own."""
SPECULATION = ("auto", "off", "ahead", "branch")
"""Ways to speculate that change no frame."""


class Player(Protocol):
    """The part of a policy that a session needs, see ``agents.policies``."""

    name: Any

    def begin(self, seeds: Sequence[int]) -> Any:
        """State of so many streams."""
        ...

    def act(self, observations: np.ndarray, state: Any) -> np.ndarray:
        """One action a stream for uint8 (B, H, W, 3)."""
        ...


class Session:
    """One person, one world.

    Args:
        world: as the environment takes it.
        policy: who may take the wheel, or None.
        make_real: makes the real environment, or None.
        seed: of the first episode.
        out: folder of films, pictures and paths.
        action_mode: the actions that the person and the policy have, where the world offers others
            than its own, see :func:`nfd_env.action_adapter.action_modes`.
        settings: arguments of the environment.

    Raises:
        ActionError: if nobody can play: keys cannot, and there is no policy.
        NFDError: as the environment does.
    """

    def __init__(
        self,
        world: Any,
        *,
        policy: Player | None = None,
        make_real: Callable[[], gym.Env[np.ndarray, Any]] | None = None,
        seed: int | None = None,
        out: Path = Path(),
        action_mode: str | None = None,
        **settings: Any,
    ) -> None:
        self.dream = Dream(world, **settings)
        self.spec = self.dream.world.action_spec
        try:
            self.adapter = find_adapter(self.dream.world, action_mode)
        except ConfigError:
            self.dream.close()
            raise
        self.controls, reason = controls_or_reason(self.adapter)
        if self.controls is None and policy is None:
            self.dream.close()
            raise ActionError(f"{reason} Give one with --policy.")
        self.policy, self._make_real, self._seed = policy, make_real, seed
        self.keeper = Keeper(out)
        self.real: gym.Env[np.ndarray, Any] | None = None
        self.stage = "imagined"
        """``imagined`` or ``real``."""
        self.driver = "you" if self.controls is not None else "policy"
        """``you`` or ``policy``."""
        self.running, self.paused, self.shows_keys = True, False, True
        self.message = ""
        """What the last command has to say."""
        self.saved: tuple[Snapshot, WorldPath, float] | None = None
        self._start()

    # -- to be shown ---------------------------------------------------------------------------

    @property
    def sampling_steps(self) -> int:
        """Denoising steps per frame."""
        own = int(self.dream.world.config.sampling_steps)
        return int(self.dream.settings.get("sampling_steps") or own)

    @property
    def speculation(self) -> str:
        """How the world speculates."""
        return str(self.dream.settings.get("speculation", "auto"))

    def lines(self) -> list[tuple[str, str]]:
        """All there is to know, as (name, value)."""
        counts = self.dream.speculation if self.stage == "imagined" else None
        ahead = self.speculation
        if counts is not None:
            ahead += f": {counts['accepted']} of {counts['steps']} taken"
        who = "you" if self.driver == "you" or self.policy is None else str(self.policy.name)
        config = self.dream.world.config
        values = [
            ("world", "real" if self.stage == "real" else f"{config.name}@{config.version}"),
            ("at the wheel", who),
            ("step", f"{self.steps}{' (paused)' if self.paused else ''}"),
            ("action", self.action),
            ("reward", f"{self.reward:+.2f}"),
            ("return", f"{self.total:+.2f}"),
        ]
        if self.stage == "imagined":
            values += [
                ("uncertainty", f"{self.uncertainty:.3f}"),
                ("denoising steps", str(self.sampling_steps)),
                ("speculation", ahead),
            ]
        if self.keeper.filming:
            values.append(("filming", f"{self.keeper.frames} pictures"))
        return values

    # -- to be called --------------------------------------------------------------------------

    def tick(self, keys_down: Iterable[str], mouse_delta: Sequence[float] = (0.0, 0.0)) -> bool:
        """A step, unless the session is paused or the episode has ended; whether there was one."""
        if self.paused or self.ended:
            return False
        self._step(keys_down, mouse_delta)
        return True

    def do(
        self,
        command: str,
        keys_down: Iterable[str] = (),
        mouse_delta: Sequence[float] = (0.0, 0.0),
    ) -> None:
        """Carries out one of :data:`COMMANDS`; what cannot be done is told in ``message``.

        Args:
            command: its name.
            keys_down: what is held, for ``step``.
            mouse_delta: how the mouse moved, for ``step``.
        """
        if command not in COMMANDS:
            raise ConfigError(f"no command {command!r}. There are: {', '.join(COMMANDS)}.")
        self.message = ""
        try:
            if command == "step":
                self.paused = True
                if not self.ended:
                    self._step(keys_down, mouse_delta)
            else:
                getattr(self, f"_{command}")()
        # A game that is not installed says so in one of these.
        except (NFDError, GymnasiumError, ImportError, ValueError) as error:
            self.message = str(error)

    def warm_up(self) -> None:
        """Takes a step and goes back: where the world is compiled, that happens now."""
        before, space = self.dream.save(), deepcopy(self.spec.space)
        space.seed(0)
        self.dream.step(self.spec.encode(space.sample()))
        self.dream.restore(before)

    def close(self) -> None:
        """Ends the film, the real game, and what computes ahead."""
        self.keeper.close()
        if self.real is not None:
            self.real.close()
        self.dream.close()

    # -- steps ---------------------------------------------------------------------------------

    def _start(self) -> None:
        if self.stage == "real":
            assert self.real is not None
            self.frame, info = self.real.reset(seed=self._seed)
            seed = self._seed or 0
        else:
            self.frame, info = self.dream.reset(self._seed)
            seed = int(info["episode_seed"])
        contexts = self.dream.settings.get("contexts", "bundled")
        self.path = WorldPath(self.dream.world.model_id, seed, str(contexts))
        self._seed = None
        self.steps, self.reward, self.total, self.uncertainty = 0, 0.0, 0.0, 0.0
        self.action, self.ended = "", False
        self._take_over(seed)

    def _take_over(self, seed: int) -> None:
        self._policy_state = self.policy.begin([seed]) if self.policy is not None else None

    def _step(self, keys_down: Iterable[str], mouse_delta: Sequence[float]) -> None:
        if self.driver == "policy" or self.controls is None:
            assert self.policy is not None
            actions = self.policy.act(self.frame[None], self._policy_state)
            vector = self.adapter.encode_batch(actions, 1)[0]
        else:
            vector = self.controls.world_vector(keys_down, mouse_delta)
        moment: Moment
        if self.stage == "real":
            assert self.real is not None
            frame, reward, *ends, info = self.real.step(self.spec.decode(vector))
            moment = frame, float(reward), bool(ends[0]), bool(ends[1]), info
        else:
            moment = self.dream.step(vector)
            self.path.add(vector, self.dream.settings.get("sampling_steps"))
        self.frame, self.reward, terminated, truncated, info = moment
        self.total += self.reward
        self.steps += 1
        self.uncertainty = float(info.get("uncertainty", 0.0))
        self.action = self.spec.describe(vector)
        try:
            self.keeper.add(self.frame)
        except NFDError as error:  # a full disk ends the film, not the game
            self.message = str(error)
        if terminated or truncated:
            self.ended = True
            reason = info.get("truncation_reason", "time") if truncated else "the world says so"
            self.message = f"the episode has ended ({reason})"

    # -- commands ------------------------------------------------------------------------------

    def _reset(self) -> None:
        self._start()

    def _pause(self) -> None:
        self.paused = not self.paused

    def _save(self) -> None:
        self._only_imagined("saved")
        self.saved = self.dream.save(), self.path.cut(len(self.path)), self.total
        self.message = f"remembered step {self.steps}"

    def _restore(self) -> None:
        self._only_imagined("returned to")
        if self.saved is None:
            raise ConfigError("no moment has been remembered yet.")
        snapshot, path, total = self.saved
        self.frame = self.dream.restore(snapshot)
        self.path, self.total = path.cut(len(path)), total
        self.steps, self.ended = int(snapshot.steps[0]), bool(snapshot.finished[0])
        self.reward, self.action = 0.0, ""
        self._take_over(path.seed)
        self.message = f"back at step {self.steps}"

    def _sampling(self) -> None:
        now = self.dream.settings.get("sampling_steps")
        own = self.dream.world.config.sampling_steps
        choices = [None, *(steps for steps in SAMPLING if steps != own)]
        place = choices.index(now) if now in choices else -1
        self.dream.change(sampling_steps=choices[(place + 1) % len(choices)])

    def _speculation(self) -> None:
        place = SPECULATION.index(self.speculation) if self.speculation in SPECULATION else -1
        self.dream.change(speculation=SPECULATION[(place + 1) % len(SPECULATION)])

    def _stage(self) -> None:
        if self.stage == "imagined":
            if self._make_real is None:
                raise ConfigError("this world does not say which real environment it is of.")
            if self.real is None:
                self.real = self._fitting(self._make_real())
        self.keeper.stop()  # no film is half real, half imagined
        self.stage = "real" if self.stage == "imagined" else "imagined"
        self._start()

    def _driver(self) -> None:
        if self.policy is None or self.controls is None:
            without = (
                "policy: give one with --policy" if self.policy is None else "key for its actions"
            )
            raise ConfigError(f"there is no {without}.")
        self.driver = "you" if self.driver == "policy" else "policy"
        self._take_over(self.path.seed)

    def _record(self) -> None:
        if self.keeper.filming:
            self.message = f"film: {self.keeper.stop()}"
            return
        fps = float(self.dream.world.config.fps)
        self.keeper.start(fps, self._said(), self.frame)
        self.message = "filming"

    def _picture(self) -> None:
        self.message = f"picture: {self.keeper.picture(self.frame, self._said())}"

    def _path(self) -> None:
        self._only_imagined("saved")
        self.message = f"path: {self.keeper.path(self.path)}"

    def _keys(self) -> None:
        self.shows_keys = not self.shows_keys

    def _quit(self) -> None:
        self.running = False

    def _said(self) -> Provenance | None:
        """What files say; nothing of the real game's, which nothing generated."""
        if self.stage == "real":
            return None
        player = "a person" if self.driver == "you" or self.policy is None else self.policy.name
        return Provenance(self.path.world, self.path.seed, player=str(player))

    def _only_imagined(self, what: str) -> None:
        if self.stage == "real":
            raise ConfigError(f"the real game cannot be {what}: only imagined worlds can.")

    def _fitting(self, real: gym.Env[np.ndarray, Any]) -> gym.Env[np.ndarray, Any]:
        shape = tuple(self.dream.world.config.frame_shape)
        if real.action_space == self.spec.space and real.observation_space.shape == shape:
            return real
        real.close()
        raise ConfigError(
            f"the real game takes {real.action_space} and shows frames of shape "
            f"{real.observation_space.shape}; the world takes {self.spec.space} and shows {shape}."
        )
