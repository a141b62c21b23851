"""The server: the page, its pictures, uploads and the WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

from aiohttp import BodyPartReader, web

from nfd_env.web.conversation import Conversation
from nfd_env.web.guard import Guard, add_headers, middleware
from nfd_env.web.limits import MEGABYTE, RequestError
from nfd_env.web.links import Links
from nfd_env.web.lobby import Lobby
from nfd_env.web.pictures import frames_of_uploads, sheet

STATIC = {
    "/": ("index.html", "text/html"),
    "/play.css": ("play.css", "text/css"),
    "/play.js": ("play.js", "text/javascript"),
    "/choices.js": ("choices.js", "text/javascript"),
    "/stage.js": ("stage.js", "text/javascript"),
    "/pad.js": ("pad.js", "text/javascript"),
    "/tree.js": ("tree.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Every file that can be asked for: no path of a request ever reaches the disk."""
SPARE_SOCKETS = 8
"""Sockets beside those of the visitors: for pages that wait or are about to take over."""
SWEEP_SECONDS = 5.0
SHEET_PIXELS = 60_000
"""Height of the sheet of thumbnails, at most: JPEG ends at 65,535."""


class Server:
    """The routes of ``nfd play --web``.

    Args:
        lobby: who is here.
        guard: who may come in.
    """

    def __init__(self, lobby: Lobby, guard: Guard) -> None:
        self.lobby, self.guard = lobby, guard
        self.links = Links(lobby.engine, lobby.modes, lobby.limits)
        self._sockets: set[web.WebSocketResponse] = set()
        folder = files("nfd_env.web") / "static"
        self._static = {
            path: ((folder / name).read_bytes(), kind) for path, (name, kind) in STATIC.items()
        }
        clips = lobby.engine.world.contexts
        height = lobby.engine.world.config.frame_shape[0]
        last = None if clips is None else clips.frames[: max(1, SHEET_PIXELS // height), -1]
        self._clips = b"" if last is None else sheet(last)

    def app(self) -> web.Application:
        """The aiohttp application."""
        limits = self.lobby.limits
        app = web.Application(
            middlewares=[middleware(self.guard)],
            client_max_size=int(limits.upload_mb * MEGABYTE),
        )
        for path in self._static:
            app.router.add_get(path, self._file)
        app.router.add_get("/clips.jpg", self._thumbnails)
        app.router.add_post("/frames", self._upload)
        app.router.add_get("/ws", self._socket)
        app.on_response_prepare.append(add_headers)
        app.cleanup_ctx.append(self._sweeping)
        app.on_shutdown.append(self._say_goodbye)
        return app

    async def _file(self, request: web.Request) -> web.Response:
        body, kind = self._static[request.path]
        return web.Response(body=body, content_type=kind, charset="utf-8")

    async def _thumbnails(self, request: web.Request) -> web.Response:
        if not self._clips:
            raise web.HTTPNotFound
        return web.Response(body=self._clips, content_type="image/jpeg")

    async def _upload(self, request: web.Request) -> web.Response:
        visitor = self.lobby.visitors.get(request.headers.get("X-Session", ""))
        if visitor is None or not visitor.bucket.take():
            return web.json_response({"words": "open the page first."}, status=403)
        config = self.lobby.engine.world.config
        try:
            pictures = await self._parts(request, config.context_length)
            # Decoding takes a while: not on the event loop, where everybody's frames pass.
            visitor.uploaded = await asyncio.to_thread(
                frames_of_uploads,
                pictures,
                config.frame_shape,
                config.context_length,
                request.query.get("fit") == "1",
            )
        except RequestError as error:
            return web.json_response({"words": str(error)}, status=400)
        return web.json_response({"frames": len(visitor.uploaded)})

    async def _parts(self, request: web.Request, most: int) -> list[bytes]:
        """The files of a form, read into memory and never to disk."""
        if not request.content_type.startswith("multipart/form-data"):
            raise RequestError("send the pictures as a form.")
        room = int(self.lobby.limits.upload_mb * MEGABYTE)
        found: list[bytes] = []
        try:
            async for part in await request.multipart():
                if not isinstance(part, BodyPartReader) or len(found) == most:
                    raise RequestError(f"at most {most} pictures, and nothing else.")
                whole = bytearray()
                while chunk := await part.read_chunk(65536):
                    whole += chunk
                    room -= len(chunk)
                    if room < 0:
                        raise RequestError(
                            f"at most {self.lobby.limits.upload_mb:g} MiB can be uploaded."
                        )
                found.append(bytes(whole))
        except (ValueError, AssertionError, KeyError) as error:
            raise RequestError("the form is damaged.") from error
        return found

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        limits = self.lobby.limits
        if len(self._sockets) >= limits.visitors + SPARE_SOCKETS:
            return web.Response(status=503, text="Too many pages are open. Try again later.\n")
        socket = web.WebSocketResponse(
            max_msg_size=int(limits.message_kb * 1024), heartbeat=20.0, timeout=2.0, compress=False
        )
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            with contextlib.suppress(TimeoutError, ConnectionError):
                await Conversation(socket, self.lobby, self.links).run()
        finally:
            self._sockets.discard(socket)
            await socket.close()
        return socket

    async def _sweeping(self, app: web.Application) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self._sweep())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(self.lobby.engine.close)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for visitor, words in self.lobby.overdue():
                conversation: Any = visitor.connection
                await visitor.stop()
                self.lobby.end(visitor)
                if conversation is not None:
                    await conversation.send_away(f"this session has ended: {words}.")

    async def _say_goodbye(self, app: web.Application) -> None:
        for socket in list(self._sockets):
            await socket.close(code=1001, message=b"the server stops")
