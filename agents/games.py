"""Games: what must be known of families of environments beyond Gymnasium's interface.

Which package brings an id, what its actions are called, how long its episodes last, and whether
what it returned at the end of an episode is a picture at all.
"""

from __future__ import annotations

import difflib
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import chdir, suppress
from dataclasses import dataclass
from enum import EnumType
from importlib import import_module, metadata
from typing import Any

import gymnasium as gym
from gymnasium import spaces

from world_model.errors import ConfigError, NFDError, WorldNotFoundError


@dataclass(frozen=True)
class Family:
    """Environments that come with a package."""

    pattern: str
    """Regular expression that their ids begin with."""
    module: str
    """Module whose import registers them."""
    package: str
    """Distribution that brings it."""
    install: str
    """What to install."""


FAMILIES = (
    Family(r"Vizdoom", "vizdoom.gymnasium_wrapper", "vizdoom", '"nfd-world[doom]"'),
    Family(r"ALE/|.*NoFrameskip-v\d|.*-ram-v\d", "ale_py", "ale-py", '"nfd-world[atari]"'),
    Family(r"Crafter", "agents.crafter_game", "crafter", '"nfd-world[crafter]"'),
    Family(r"MiniGrid-|BabyAI-", "minigrid", "minigrid", "minigrid"),
    Family(r"MiniWorld-", "miniworld", "miniworld", "miniworld"),
)


def family_of(env_id: str) -> Family | None:
    """The package that brings ``env_id``, if it is a known one."""
    return next((f for f in FAMILIES if re.match(f.pattern, env_id)), None)


def register(env_id: str) -> None:
    """Imports the package that registers ``env_id``.

    Raises:
        NFDError: if it is not installed, with what to install.
    """
    family = family_of(env_id)
    if family is None:
        return
    if family.module == "miniworld":
        os.environ.setdefault("PYGLET_HEADLESS", "1")  # or it wants a display at import
    try:
        import_module(family.module.partition(".")[0])
        import_module(family.module)
    except ImportError as error:
        raise NFDError(
            f"the environment {env_id!r} needs {family.package}, which could not be imported "
            f"({error}). Install it with: pip install {family.install}"
        ) from error


def versions_of(env_id: str) -> dict[str, str]:
    """Versions of the packages that decide what the environment does."""
    family = family_of(env_id)
    found = {}
    for package in ("gymnasium", *([family.package] if family else [])):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def make_game(env_id: str, kwargs: Mapping[str, Any], *, render: bool = False) -> gym.Env[Any, Any]:
    """Makes a Gymnasium environment, ready to be reset.

    Args:
        env_id: a registered id; or ``module:function``, called without arguments.
        kwargs: arguments of ``gymnasium.make``.
        render: whether it will be asked for pictures of itself.

    Raises:
        WorldNotFoundError: if there is no such environment.
        ConfigError: if it refuses ``kwargs``, or cannot draw itself.
        NFDError: if it cannot be started.
    """
    register(env_id)
    doom = env_id.startswith("Vizdoom")
    if render:
        kwargs = {**kwargs, "render_mode": "rgb_array"}
    folder = tempfile.TemporaryDirectory(prefix="nfd-doom-") if doom else None
    if folder is not None:
        kwargs = {**kwargs, "doom_config_path": os.path.join(folder.name, "vizdoom.ini")}
    if folder is None:
        return _make(env_id, kwargs)
    try:
        return DoomGame(_make(env_id, kwargs), folder)
    except BaseException:
        folder.cleanup()
        raise


class DoomGame(gym.Wrapper[Any, Any, Any, Any]):
    """A ViZDoom game with a folder of its own.

    The game keeps its settings in a file, and more in a folder where it is started. A folder of
    its own makes every game start from the same settings, whatever else is running.
    """

    def __init__(self, env: gym.Env[Any, Any], folder: tempfile.TemporaryDirectory[str]) -> None:
        super().__init__(env)
        self._folder = folder
        game: Any = env.unwrapped
        # Started here, not at the first reset: games are made one after the other, but may be
        # reset by several threads, and the working folder is the whole process's.
        try:
            with chdir(folder.name):
                game.game.init()
        except Exception as error:
            env.close()
            raise NFDError(
                f"the game cannot be started ({type(error).__name__}: {error})."
            ) from error

    def close(self) -> None:
        """Ends the game's process."""
        super().close()
        self._folder.cleanup()


def frame_missing(env: gym.Env[Any, Any]) -> bool:
    """Whether the last observation is a stand-in: ViZDoom's is black where a game is over."""
    return _is_doom(env) and env.unwrapped.state is None  # type: ignore[attr-defined]


def time_limit(env: gym.Env[Any, Any]) -> int | None:
    """Steps after which ``env`` ends an episode by itself, or None."""
    limits = []
    if env.spec is not None and env.spec.max_episode_steps:
        limits.append(int(env.spec.max_episode_steps))
    if _is_doom(env):
        game: Any = env.unwrapped
        tics = game.game.get_episode_timeout()
        limits += [-(-tics // game.frame_skip)] if tics else []
    return min(limits, default=None)


def steps_per_second(env: gym.Env[Any, Any]) -> float | None:
    """The rate at which ``env`` is meant to be seen, or None if it does not say."""
    fps = env.metadata.get("render_fps")
    if not fps:
        return None
    # ViZDoom counts tics there, whatever its own frame skip.
    return float(fps) / (env.unwrapped.frame_skip if _is_doom(env) else 1)  # type: ignore[attr-defined]


def state_names(env: gym.Env[Any, Any], columns: tuple[str, ...]) -> tuple[str, ...]:
    """Better names for columns of the state, where the game has any."""
    if not _is_doom(env):
        return columns
    variables = env.unwrapped.game.get_available_game_variables()  # type: ignore[attr-defined]
    names = tuple(variable.name.lower() for variable in variables)
    return names if len(names) == len(columns) else columns


def action_names(env: gym.Env[Any, Any]) -> list[str] | None:
    """What the environment calls its actions, or the parts of them; None if it does not say.

    For a Discrete space a name for each action, else one for each column of its
    :class:`~world_model.action_spec.ActionSpec`.
    """
    game: Any = env.unwrapped
    space = env.action_space
    if _is_doom(env):
        return _doom_names(game, space)
    if not isinstance(space, spaces.Discrete):
        return None
    names: list[str] | None = None
    if hasattr(game, "get_action_meanings"):  # ALE
        names = list(game.get_action_meanings())
    elif isinstance(getattr(game, "actions", None), EnumType):  # MiniGrid, MiniWorld
        names = [str(action.name) for action in game.actions]
    elif isinstance(getattr(game, "action_names", None), list | tuple):  # Crafter
        names = list(game.action_names)
    if names is None or len(names) < int(space.n):
        return None
    return [str(name).lower() for name in names[: int(space.n)]]


def _doom_names(game: Any, space: spaces.Space[Any]) -> list[str]:
    buttons = [button.name.lower() for button in game.game.get_available_buttons()]
    deltas, keys = buttons[: game.num_delta_buttons], buttons[game.num_delta_buttons :]
    if isinstance(space, spaces.Discrete):
        pressed = [[k for k, on in zip(keys, row, strict=True) if on] for row in game.button_map]
        return ["+".join(names) or "noop" for names in pressed]
    binary = space["binary"] if isinstance(space, spaces.Dict) else space
    if isinstance(binary, spaces.Discrete):  # one column for all keys
        keys = ["buttons"]
    return [*keys, *deltas]


def _is_doom(env: gym.Env[Any, Any]) -> bool:
    return type(env.unwrapped).__module__.startswith("vizdoom.")


def _make(env_id: str, kwargs: Mapping[str, Any]) -> gym.Env[Any, Any]:
    if ":" in env_id and not re.search(r"-v\d+$", env_id):
        return _call(env_id, kwargs)
    try:
        return gym.make(env_id, disable_env_checker=True, **kwargs)
    except gym.error.UnregisteredEnv as error:
        close = difflib.get_close_matches(env_id, gym.registry, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise WorldNotFoundError(
            f"no environment is called {env_id!r}.{hint} An environment of a package of yours is "
            "named as 'package:Id-v0', or 'module:function' of a function that makes it."
        ) from error
    except ImportError as error:
        raise NFDError(f"{env_id!r} needs a package that is not there: {error}.") from error
    except gym.error.DependencyNotInstalled as error:
        raise NFDError(f"{env_id!r} cannot be started: {error}") from error
    except Exception as error:  # whatever the environment's constructor trips over
        raise ConfigError(
            f"{env_id!r} could not be made with {dict(kwargs)} ({type(error).__name__}: {error})."
        ) from error


def _call(name: str, kwargs: Mapping[str, Any]) -> gym.Env[Any, Any]:
    """The environment that ``module:function`` makes.

    It is never given arguments: those of a world from elsewhere would be somebody else's code.
    """
    from nfd_env.loading import load_object

    if set(kwargs) - {"render_mode"}:
        raise ConfigError(f"{name!r} takes no arguments here; write a function that gives them.")
    env = load_object(name)()
    if not isinstance(env, gym.Env):
        raise ConfigError(f"{name!r} made {env!r}, which is no gymnasium.Env.")
    if kwargs and env.render_mode != "rgb_array":
        raise ConfigError(f"{name!r} must make its environment with render_mode='rgb_array'.")
    return env
