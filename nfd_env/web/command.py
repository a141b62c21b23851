"""``nfd play --web``: serves a world to browsers."""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import signal
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import tyro
from aiohttp import web

from nfd_env.building import DEFAULT_WORLD, build_core
from nfd_env.core import ImaginedCore
from nfd_env.web.app import Server
from nfd_env.web.choices import Modes, offered_steps
from nfd_env.web.engine import Engine
from nfd_env.web.guard import Guard, is_loopback
from nfd_env.web.limits import Limits
from nfd_env.web.lobby import Lobby
from world_model.errors import ConfigError


@dataclass(frozen=True)
class WebOptions:
    """Serves an imagined world to browsers: several visitors at a time, each in their own episode.

    Only this machine can reach the page, unless --host says otherwise; visitors then need the
    token that is printed.
    """

    world: Annotated[str, tyro.conf.Positional] = DEFAULT_WORLD
    """Name, folder or hub id of a world."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every network of this machine."""
    port: int = 8765
    """Port to listen on; 0 for any that is free."""
    names: tuple[str, ...] = ()
    """Names that the server is reached by besides, such as that of a reverse proxy."""
    open: bool = False
    """Open the page in this machine's browser."""
    action_mode: str | None = None
    """The actions that visitors have until they choose others, where the world offers others than
    its own, such as `discrete` in Minecraft. Links name the mode, hold the world's own actions, and
    replay on every server."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`."""
    sampling_steps: int | None = None
    """Denoising steps a frame until a visitor chooses others; default: the world's own. Frames in
    one step cost about half."""
    compile: bool = False
    """Compile the world's passes before the first visitor comes: a minute or so, then frames cost
    two thirds. Needs a C++ compiler on a CPU."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Of the transformer's matrix products; auto is the faster on this hardware. Links replay
    exactly where it is the same."""
    endless: bool = False
    """Never end an episode."""
    batch: int = 1
    """Streams that are stepped in one pass, at most. With 1 frames do not depend on who else plays,
    and links replay exactly; with more, many visitors cost less, but roundings differ, and futures
    part after a while."""
    limits: Limits = field(default_factory=Limits)
    """What a visitor may use."""


def main(argv: Sequence[str]) -> int:
    """Runs the command; see :class:`WebOptions`."""
    arguments = [argument for argument in argv if argument != "--web"]
    options = tyro.cli(WebOptions, args=arguments, prog="nfd play --web")
    if not 0 <= options.port <= 65535:
        raise ConfigError(f"--port {options.port}: expected a number from 0 to 65535.")
    if options.batch < 1:
        raise ConfigError(f"--batch {options.batch}: expected at least 1.")
    logging.basicConfig(level=logging.WARNING, format="nfd: %(message)s")
    # It logs every request that is no HTTP with a traceback; anybody can send such.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    asyncio.run(_serve(options))
    return 0


def make_lobby(options: WebOptions) -> Lobby:
    """The lobby of a server with these options, its engine running."""
    core = build_core(
        options.limits.visitors,
        options.world,
        action_mode=options.action_mode,
        device=options.device,
        sampling_steps=options.sampling_steps,
        endless=options.endless,
        # None: rollouts of other kinds know of neither.
        precision=None if options.precision == "float32" else options.precision,
        compile=options.compile or None,
        speculation="off",  # a stream waits for its visitor, not the other way round
    )
    modes = Modes(core.world, options.action_mode)
    offered = offered_steps(core, options.limits)
    if options.compile:
        print("nfd: compiling the world, a minute or so", flush=True)
        warm_up(core, modes.controls[modes.default].world_vector(()), options.batch, offered)
    return Lobby(Engine(core, options.batch, offered), options.limits, modes)


def warm_up(core: ImaginedCore, action: np.ndarray, most: int, offered: Sequence[int]) -> None:
    """Takes a step in every number of streams up to ``most``: each is compiled for itself.

    Args:
        core: the streams; they are to be reset afterwards.
        action: float32 (K,), encoded.
        most: streams that will be stepped in one pass.
        offered: numbers of denoising steps; the most of them need all passes that there are.
    """
    own = core.rollout
    if offered:
        core.rollout = own.with_sampling_steps(max(offered))
    for count in range(1, min(most, core.num_envs) + 1):
        core.reset(seeds=[0] * core.num_envs)
        core.step_some(range(count), action[None].repeat(count, axis=0))
    core.rollout = own


async def _serve(options: WebOptions) -> None:
    token = None if is_loopback(options.host) else secrets.token_urlsafe(32)
    guard = Guard(options.host, token, tuple(name.lower() for name in options.names))
    lobby = make_lobby(options)
    runner = web.AppRunner(
        Server(lobby, guard).app(), access_log=None, shutdown_timeout=3.0, handle_signals=False
    )
    await runner.setup()
    try:
        await listen(runner, options.host, options.port)
        url = address(options.host, runner.addresses[0][1], token)
        print(f"nfd: {lobby.engine.world.model_id} at {url}", flush=True)
        if token is not None:
            print(
                "nfd: whoever has this address can play. The connection is not encrypted: outside "
                "of a network that you trust, put a proxy with TLS in front.",
                flush=True,
            )
        if options.open:
            webbrowser.open(url)
        await _until_stopped()
    finally:
        await runner.cleanup()


async def listen(runner: web.AppRunner, host: str, port: int) -> None:
    """Listens for visitors.

    Raises:
        ConfigError: if that is not possible, with what to do.
    """
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} of {host} is taken by another program: choose another one with "
                "--port, or --port 0 for any that is free."
            ) from error
        if error.errno == errno.EACCES:
            raise ConfigError(f"port {port} is reserved: choose one of 1024 or above.") from error
        raise ConfigError(f"cannot listen on {host}, port {port}: {error}.") from error


def address(host: str, port: int, token: str | None) -> str:
    """What to open in a browser.

    >>> address("::1", 8765, None), address("0.0.0.0", 80, "secret")
    ('http://[::1]:8765/', 'http://0.0.0.0:80/?token=secret')
    """
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + ("" if token is None else f"?token={token}")


async def _until_stopped() -> None:
    stopped = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, stopped.set)
    await stopped.wait()
