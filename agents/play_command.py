"""``nfd play``: an imagined world for a person, in a window."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium as gym
import numpy as np
import tyro
from gymnasium.error import DependencyNotInstalled

from world_model.errors import ConfigError, NFDError


@dataclass(frozen=True)
class PlayOptions:
    """Plays an imagined world in a window, by keys and mouse. The window shows what keys do.

    `nfd play --web` plays in a browser, see `nfd play --web --help`.
    """

    world: Annotated[str, tyro.conf.Positional] = "doom-take-cover"
    """Name, folder or hub id of a world, or module:function that makes one."""
    policy: str | None = None
    """Who may take the wheel (F9): a scripted policy such as `sweep-20`, or the name or folder of
    a trained one (default: the bundled one of the world's name, if there is one)."""
    seed: int | None = None
    """Of the first episode (default: a random one)."""
    action_mode: str | None = None
    """The actions that you and the policy have, where the world offers others than its own, such as
    `discrete` in Minecraft."""
    contexts: str = "bundled"
    """Where episodes start: see the environment's argument."""
    endless: bool = False
    """Episodes never end."""
    sampling_steps: int | None = None
    """Denoising steps per frame (default: the world's own)."""
    compile: bool = False
    """Compile the world's passes before the window opens: a minute or so, then frames cost two
    thirds. Needs a C++ compiler on a CPU."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Of the transformer's matrix products; auto is the faster on this hardware."""
    speculation: str = "auto"
    """Have the next frame ready before its action is known: auto, off, ahead or branch."""
    fps: float | None = None
    """Steps per second (default: the world's own)."""
    out: Path = Path("recordings")
    """Folder for films, pictures and paths."""
    device: str = "auto"
    """auto, cpu or cuda."""


def run(options: PlayOptions) -> None:
    """Opens the window, and returns when it is closed.

    Raises:
        NFDError: if something is missing, or there is no display.
    """
    from nfd_env.play.session import Session
    from nfd_env.play.window import PlayWindow

    if options.fps is not None and not 0.1 <= options.fps <= 240:
        raise ConfigError(f"--fps {options.fps}: expected a number from 0.1 to 240.")
    if options.sampling_steps is not None and options.sampling_steps < 1:
        raise ConfigError(f"--sampling-steps {options.sampling_steps}: expected at least 1.")
    if options.seed is not None and options.seed < 0:
        raise ConfigError(f"--seed {options.seed}: expected at least 0.")
    from agents.arena import load_world

    world = load_world(options.world, options.device)
    session = Session(
        world,
        policy=_policy(options.policy, world, options.action_mode),
        make_real=lambda: _real(world),
        seed=options.seed,
        out=options.out,
        action_mode=options.action_mode,
        contexts=options.contexts,
        endless=options.endless,
        sampling_steps=options.sampling_steps,
        speculation=options.speculation,
        precision=None if options.precision == "float32" else options.precision,
        compile=options.compile or None,
        device=options.device,
    )
    with closing(session):
        if options.compile:
            print("nfd: compiling the world, a minute or so", flush=True)
            session.warm_up()
        try:
            window = PlayWindow(session, options.fps or float(world.config.fps))
        except DependencyNotInstalled as error:
            raise NFDError(str(error)) from error
        with closing(window):
            window.loop()


def _policy(name: str | None, world: Any, action_mode: str | None) -> Any:
    from agents.arena import find_policies
    from agents.policy_io import load_policy
    from nfd_env.action_adapter import find_adapter, spec_of

    if name is not None:
        return find_policies([name], spec_of(find_adapter(world, action_mode)))[0]
    if action_mode is not None:  # the bundled ones play with the world's own actions
        return None
    try:
        return load_policy(world.config.name)
    except NFDError:
        return None


def _real(world: Any) -> gym.Env[np.ndarray, Any]:
    from agents.environments import real_environment, source_of

    return real_environment(source_of(world))()


def main(argv: list[str]) -> int:
    """Entry point of ``nfd play``."""
    if "--web" in argv:
        rest = [argument for argument in argv if argument != "--web"]
        try:
            web = import_module("nfd_env.web.command")
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("nfd_env"):
                raise
            raise NFDError("this version of nfd-world cannot play in a browser.") from error
        return int(web.main(rest) or 0)
    run(tyro.cli(PlayOptions, args=argv, prog="nfd play"))
    return 0
