"""A server of the toy world, and a page that talks to it, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import aiohttp
from aiohttp import web

from nfd_env.building import build_core
from nfd_env.web.app import Server
from nfd_env.web.choices import Modes, offered_steps
from nfd_env.web.engine import Engine
from nfd_env.web.guard import Guard
from nfd_env.web.limits import Limits
from nfd_env.web.lobby import Lobby
from nfd_env.web.messages import unpack
from tests.toy import ToyWorld


def make_lobby(world: Any = None, limits: Limits | None = None, **options: Any) -> Lobby:
    limits = limits or Limits()
    core = build_core(limits.visitors, world or ToyWorld(), speculation="off", **options)
    modes = Modes(core.world, options.get("action_mode"))
    return Lobby(Engine(core, offered=offered_steps(core, limits)), limits, modes)


@contextlib.asynccontextmanager
async def served(lobby: Lobby | None = None, guard: Guard | None = None):
    """The address of a server that runs in this event loop, and its lobby."""
    lobby = lobby or make_lobby()
    app = Server(lobby, guard or Guard("127.0.0.1", None)).app()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", lobby
    finally:
        await runner.cleanup()


@contextlib.contextmanager
def served_in_a_thread(lobby: Lobby | None = None) -> Iterator[tuple[str, Lobby]]:
    """The same for a caller without an event loop."""
    ready, found, stop = threading.Event(), [], []

    async def run() -> None:
        async with served(lobby) as (url, made):
            event = asyncio.Event()
            found.extend([url, made])
            stop.extend([asyncio.get_running_loop(), event])
            ready.set()
            await event.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert ready.wait(20)
        yield found[0], found[1]
    finally:
        stop[0].call_soon_threadsafe(stop[1].set)
        thread.join()


class Page:
    """What a browser's page does, in Python."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.welcome: dict[str, Any] = {}
        self.told: list[dict[str, Any]] = []
        self.shown: int | None = None
        """The number of the newest moment."""

    async def say(self, do: str, **what: Any) -> None:
        await self.socket.send_str(json.dumps({"do": do, **what}))

    async def next(self) -> dict[str, Any] | tuple[dict[str, Any], bytes]:
        message = await asyncio.wait_for(self.socket.receive(), 20)
        if message.type == aiohttp.WSMsgType.BINARY:
            header, picture = unpack(message.data)
            self.shown = header["n"]
            return header, picture
        assert message.type == aiohttp.WSMsgType.TEXT, message
        return json.loads(message.data)

    async def until(self, kind: str) -> dict[str, Any]:
        while True:
            message = await self.next()
            if isinstance(message, dict):
                self.told.append(message)
                if message["kind"] == kind:
                    return message
                assert message["kind"] != "error", message

    async def frame(self) -> tuple[dict[str, Any], bytes]:
        while True:
            message = await self.next()
            if isinstance(message, tuple):
                return message
            self.told.append(message)
            assert message["kind"] != "error", message

    async def do(self, do: str, **what: Any) -> tuple[dict[str, Any], bytes]:
        await self.say(do, **what)
        return await self.frame()

    async def walk(self, actions: list[int]) -> list[tuple[dict[str, Any], bytes]]:
        return [await self.do("step", action=[action]) for action in actions]


@contextlib.asynccontextmanager
async def page(url: str, session: str | None = None, **options: Any):
    headers = {"Origin": url, **options.pop("headers", {})}
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(f"{url}/ws", headers=headers, **options) as socket,
    ):
        made = Page(socket)
        await made.say("hello", session=session)
        first = await made.next()
        assert isinstance(first, dict)
        made.welcome = first
        yield made
