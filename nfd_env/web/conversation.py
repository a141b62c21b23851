"""What a page says, and what becomes of it: one conversation for each open WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web

from nfd_env.web import messages
from nfd_env.web.limits import RequestError
from nfd_env.web.links import Links
from nfd_env.web.lobby import Lobby
from nfd_env.web.moments import Moment
from nfd_env.web.start import Start
from nfd_env.web.visitor import Visitor
from nfd_env.web.welcome import controls_of, welcome
from world_model.errors import NFDError

HELLO_SECONDS = 10.0
"""How long a page may take to say who it is."""
SLOW_DOWN_SECONDS = 0.25
"""How long a page that asks for too much must wait."""
FASTEST = 240.0
"""Steps a second of a path that is played, at most."""
SEEDS = 2**53
"""Seeds are below this: JavaScript's numbers hold no larger ones exactly."""

_Asked = dict[str, Any]

logger = logging.getLogger(__name__)


class _TooMuchError(RequestError):
    """A page asks for more than it may."""


class Conversation:
    """Talks with one page.

    Args:
        socket: of the page, prepared.
        lobby: where its visitor is.
        links: paths as text.
    """

    def __init__(self, socket: web.WebSocketResponse, lobby: Lobby, links: Links) -> None:
        self.socket, self.lobby, self.links = socket, lobby, links
        self.visitor: Visitor
        self._known_branches: list[int] = []
        self._known_mode = ""

    async def run(self) -> None:
        """Until the page leaves or is sent away."""
        first = await asyncio.wait_for(self.socket.receive(), HELLO_SECONDS)
        if first.type != WSMsgType.TEXT:
            return
        try:
            hello = messages.parse(first.data)
            if hello["do"] != "hello":
                raise RequestError('the first message must be "hello".')
            session = hello.get("session")
            self.visitor = self.lobby.enter(session if isinstance(session, str) else None)
        except RequestError as error:
            await self.tell("refused", words=str(error))
            await self.socket.close(code=4003)
            return
        await self._take_over()
        try:
            self.visitor.timeline.gone.clear()  # what the page is told is what there is
            self._known_branches = list(self.visitor.timeline.branches)
            self._known_mode = self.visitor.mode
            await self.tell("welcome", **welcome(self.visitor, self.lobby.modes))
            await self._listen()
        finally:
            if self.visitor.connection is self:
                await self.visitor.stop()
                self.visitor.connection = None
                self.visitor.heard = self.lobby.clock()

    async def _listen(self) -> None:
        """Answers messages in their order, and reads one ahead of what is being answered."""
        heard: asyncio.Queue[_Asked | NFDError | None] = asyncio.Queue(1)
        answering = asyncio.ensure_future(self._answer_all(heard))
        try:
            async for message in self.socket:
                if self.visitor.connection is not self:
                    continue
                asked = self._read(message)
                if isinstance(asked, dict) and asked["do"] == "step":
                    self._expect(asked)
                await heard.put(asked)
                if isinstance(asked, _TooMuchError):
                    await asyncio.sleep(SLOW_DOWN_SECONDS)
            await heard.put(None)
            await answering
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)

    async def _answer_all(self, heard: asyncio.Queue[_Asked | NFDError | None]) -> None:
        while (asked := await heard.get()) is not None:
            if self.visitor.connection is self:
                await self._answer(asked)

    async def tell(self, kind: str, **what: Any) -> None:
        """Sends a JSON message; a page that has left misses it."""
        await self._send(json.dumps({"kind": kind, **what}))

    async def show(self, moment: Moment, **more: Any) -> None:
        """Sends a moment."""
        timeline = self.visitor.timeline
        if timeline.gone:
            gone, timeline.gone = timeline.gone, []
            words = f"{timeline.most_moments} moments are all that a session has: "
            words += "its oldest lines made room and are forgotten."
            await self.tell("forgotten", branches=gone, words=words)
        if list(timeline.branches) != self._known_branches:
            self._known_branches = list(timeline.branches)
            kept = [
                {"id": b.id, "name": b.name, "fork": b.fork} for b in timeline.branches.values()
            ]
            await self.tell("branches", branches=kept)
        if self._known_mode != self.visitor.mode:
            self._known_mode = self.visitor.mode
            await self.tell("controls", **controls_of(self.visitor))
        await self._send(messages.pack(moment, **more))

    async def send_away(self, words: str) -> None:
        """Ends the conversation, and says why."""
        await self.tell("ended", words=words)
        await self.socket.close(code=4001)

    async def _send(self, message: str | bytes) -> None:
        try:
            if isinstance(message, bytes):
                await self.socket.send_bytes(message)
            else:
                await self.socket.send_str(message)
        except (ConnectionError, RuntimeError):
            pass  # the page left in the meantime; its reader will notice

    async def _take_over(self) -> None:
        """A session has one page: the one that came last."""
        other, self.visitor.connection = self.visitor.connection, self
        if other is not None:
            await self.visitor.stop()
            await other.send_away("this session goes on in another tab.")

    def _read(self, message: Any) -> _Asked | NFDError:
        """What a message asks for, or why nothing is done about it."""
        visitor = self.visitor
        visitor.heard = self.lobby.clock()
        if not visitor.bucket.take():
            return _TooMuchError("too many messages: slow down.")
        if message.type != WSMsgType.TEXT:
            return RequestError("a message must be text.")
        try:
            return messages.parse(message.data)
        except RequestError as error:
            return error

    def _expect(self, asked: dict[str, Any]) -> None:
        """Lets a step begin that comes after the one under way; :meth:`_step` answers it."""
        with contextlib.suppress(NFDError):  # which _step will tell
            self.visitor.expect(self._action(asked), self._sampling(asked))

    async def _answer(self, asked: _Asked | NFDError) -> None:
        try:
            if isinstance(asked, NFDError):
                raise asked
            handler = _HANDLERS.get(asked["do"])
            if handler is None:
                raise RequestError("there is no such thing to do.")
            await handler(self, asked)
        except NFDError as error:
            await self.tell("error", words=str(error))
        except ConnectionError:
            pass  # the page has left, which ends the reading
        except Exception:
            logger.exception("a message failed")
            await self.tell("error", words="something went wrong here.")

    # -- what can be done ----------------------------------------------------------------------

    async def _step(self, asked: dict[str, Any]) -> None:
        await self.visitor.stop()
        echo, drifted = messages.number(asked, "c", 0, 1e15), self.visitor.drifted
        moment = await self.visitor.act(self._action(asked), self._sampling(asked))
        await self._tell_drift(drifted)
        await self.show(moment, c=echo)

    async def _tell_drift(self, before: int) -> None:
        if self.visitor.drifted > before:
            await self.tell("drifted")

    async def _start(self, asked: dict[str, Any]) -> None:
        await self.visitor.stop()
        mode = self.visitor.modes.find(asked.get("mode", self.visitor.mode))
        if "like" in asked:
            like = self.visitor.timeline[asked["like"]]
            start = replace(self.visitor.timeline.start_of(like.id), mode=mode)
            await self.show(await self.visitor.start(start))
            return
        seed = messages.whole(asked, "seed", 0, SEEDS)
        clips = self.lobby.engine.world.contexts
        clip = messages.whole(asked, "clip", 0, max(0, len(clips or ()) - 1))
        frames: tuple[bytes, ...] = ()
        if asked.get("upload"):
            if self.visitor.uploaded is None:
                raise RequestError("upload frames first.")
            frames, clip = tuple(frame.tobytes() for frame in self.visitor.uploaded), None
        seed = secrets.randbelow(10**6) if seed is None else seed
        await self.show(await self.visitor.start(Start(seed, clip, frames, mode)))

    async def _go(self, asked: dict[str, Any]) -> None:
        await self.visitor.stop()
        if self.visitor.timeline[asked.get("n")].picture:
            await self.show(await self.visitor.go(asked["n"]))
        else:
            await self._imagine_again(asked["n"])

    async def _look(self, asked: dict[str, Any]) -> None:
        moment = self.visitor.timeline.shown(asked.get("n"))
        if moment.picture:
            await self.show(moment, look=True)
        elif asked.get("kept"):
            await self.tell("dropped", n=moment.id)
        else:
            await self.visitor.stop()
            await self._imagine_again(moment.id, look=True)

    async def _imagine_again(self, number: int, **look: bool) -> None:
        """Lets a moment be imagined again whose picture was dropped, until the page moves."""
        await self.tell("returning", steps=self.visitor.way_back(number))
        self.visitor.play_in_background(self._telling(self._return, number, look))

    async def _return(self, number: int, look: dict[str, bool]) -> None:
        drifted = self.visitor.drifted
        moment = await (self.visitor.look if look else self.visitor.go)(number)
        await self.tell("returned")
        await self._tell_drift(drifted)
        await self.show(moment, **look)

    async def _name(self, asked: dict[str, Any]) -> None:
        branch = self.visitor.timeline.rename(asked.get("branch"), asked.get("name", ""))
        await self.tell("named", branch=branch.id, name=branch.name)

    async def _forget(self, asked: dict[str, Any]) -> None:
        await self.visitor.stop()
        gone = self.visitor.timeline.forget(asked.get("branch"), self.visitor.now().id)
        self._known_branches = list(self.visitor.timeline.branches)
        await self.tell("forgotten", branches=gone)

    async def _share(self, asked: dict[str, Any]) -> None:
        moment, most = self.visitor.timeline[asked.get("n")], self.lobby.limits.path_steps
        short = bool(asked.get("short"))
        if moment.step > most:
            if short:
                return
            raise RequestError(
                f"it is {moment.step} steps to this moment; a link holds at most {most}. Go to an "
                "earlier one for a link."
            )
        link = self.links.of(
            self.visitor.timeline.path_to(moment.id), None if short else self.lobby.links
        )
        if link is not None:
            await self.tell("link", link=link, steps=moment.step)

    async def _replay(self, asked: dict[str, Any]) -> None:
        await self.visitor.stop()
        link, fps = asked.get("link"), messages.number(asked, "fps", 0.1, FASTEST)
        if not isinstance(link, str):
            raise RequestError('"link" must be the text of a link.')
        start, actions, check = self.links.read(link, self.lobby.links)
        await self.tell("replaying", steps=len(actions))
        self.visitor.play_in_background(self._telling(self._play, start, actions, check, fps))

    async def _play(
        self,
        start: Start,
        actions: list[tuple[np.ndarray, int | None]],
        check: int | None,
        fps: float | None,
    ) -> None:
        last = await self.visitor.play(start, actions, fps, self.show)
        same = None if check is None else last.check == check
        await self.tell("replayed", same=same, steps=last.step)

    async def _telling(self, walk: Callable[..., Awaitable[None]], *what: Any) -> None:
        """Tells the page what goes wrong on a walk that nobody waits for."""
        try:
            await walk(*what)
        except NFDError as error:
            await self.tell("error", words=str(error))
        except Exception:
            logger.exception("a replay failed")
            await self.tell("error", words="something went wrong here.")

    async def _stop(self, asked: dict[str, Any]) -> None:
        await self.visitor.stop()
        await self.tell("stopped")

    async def _ping(self, asked: dict[str, Any]) -> None:
        await self.tell("pong", c=messages.number(asked, "c", 0, 1e15))

    def _action(self, asked: dict[str, Any]) -> np.ndarray:
        """The encoded action of held keys, or the one that is given in numbers."""
        spec = self.lobby.engine.world.action_spec
        if "action" in asked:
            given = asked["action"]
            if not isinstance(given, list) or len(given) != spec.dim:
                raise RequestError(f'"action" must be a list of {spec.dim} numbers.')
            vector = [messages.number({"action": v}, "action", -3e38, 3e38) for v in given]
            if None in vector:
                raise RequestError(f'"action" must be a list of {spec.dim} numbers.')
            action = np.array(vector, np.float32)
            spec.check(action[None])
            return action
        keys, mouse = messages.held_keys(asked), messages.mouse_moved(asked)
        return self.visitor.controls.world_vector(keys, mouse)

    def _sampling(self, asked: dict[str, Any]) -> int | None:
        return messages.sampling(asked, self.lobby.engine.offered)


_HANDLERS = {
    "step": Conversation._step,
    "start": Conversation._start,
    "go": Conversation._go,
    "look": Conversation._look,
    "name": Conversation._name,
    "forget": Conversation._forget,
    "share": Conversation._share,
    "replay": Conversation._replay,
    "stop": Conversation._stop,
    "ping": Conversation._ping,
}
