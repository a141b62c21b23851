"""A thousand requests that no page would make: nobody else may notice."""

from __future__ import annotations

import asyncio
import json
import random
import zlib
from base64 import urlsafe_b64encode

import pytest

pytest.importorskip("aiohttp")

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from nfd_env.web.limits import Limits
from tests.nfd_env.web.serving import make_lobby, page, served

VALUES = [
    None, True, -1, 0, 1, 2**63, 10**400, 1.5, -1e308, "", "x" * 500, "\x00", "../../etc/passwd",
    [], [1], [None], ["left"], [[]], {}, {"do": "step"}, [1e39], ["a"] * 1000,
]  # fmt: skip
DOINGS = ["hello", "step", "start", "go", "look", "name", "forget", "share", "replay", "stop",
          "ping", "welcome", "__init__", "_play", ""]  # fmt: skip
KEYS = ["n", "seed", "clip", "upload", "branch", "name", "link", "fps", "keys", "mouse", "action",
        "c", "session", "do"]  # fmt: skip
RAW = [
    "", "{", "null", "[]", '"do"', "[" * 5000, '{"do":' * 2000, '{"do": NaN}', '{"do":1e999}',
    '{"do":"go","n":' + "9" * 5000 + "}", "\ud7ff\u0000",
]  # fmt: skip


def link_of(document):
    packed = zlib.compress(
        document if isinstance(document, bytes) else json.dumps(document).encode()
    )
    return "p=" + urlsafe_b64encode(packed).decode().rstrip("=")


def links(model_id):
    good = {"format": "nfd-path", "version": 1, "world": model_id, "seed": 1,
            "contexts": "bundled", "actions": [{"action": [1], "steps": 2}]}  # fmt: skip
    yield link_of(b"0" * 50_000_000)  # a bomb
    yield link_of(b"[" * 100_000)
    for key in good:
        for value in VALUES:
            yield link_of({**good, key: value})
    for action in ({"action": [1], "steps": 2**62}, {"action": [9], "steps": 1}, {"action": [1]}):
        yield link_of({**good, "actions": [action]})
    for more in ({"clip": 99}, {"clip": -1}, {"clip": "x"}, {}):
        yield link_of({**good, "contexts": "clip", **more})
    for frames in ([], ["x"], ["AAAA"], [None], "AAAA", [""] * 4):
        yield link_of({**good, "contexts": "frames", "frames": frames})


def hostile_messages(rng, count, model_id):
    messages = [*RAW, *(json.dumps({"do": "replay", "link": link}) for link in links(model_id))]
    while len(messages) < count:
        message = {key: rng.choice(VALUES) for key in rng.sample(KEYS, rng.randrange(5))}
        message["do"] = rng.choice(DOINGS)
        messages.append(json.dumps(message))
    return messages


async def talk(url, messages, said):
    """Sends messages over as many sockets as it takes; keeps all that comes back."""
    waiting = list(messages)
    while waiting:
        async with page(url) as one:
            assert one.welcome["kind"] == "welcome", one.welcome
            for message in [waiting.pop() for _ in range(min(60, len(waiting)))]:
                if isinstance(message, bytes):
                    await one.socket.send_bytes(message)
                else:
                    await one.socket.send_str(message)
            await one.say("stop")
            while True:
                answer = await asyncio.wait_for(one.socket.receive(), 20)
                if answer.type == aiohttp.WSMsgType.TEXT:
                    said.append(answer.data)
                    if '"stopped"' in answer.data:
                        break
                elif answer.type != aiohttp.WSMsgType.BINARY:
                    break


async def raw(url, request, said):
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        await writer.drain()
        writer.write_eof()
        said.append((await asyncio.wait_for(reader.read(100_000), 20)).decode(errors="replace"))
    except (ConnectionError, TimeoutError):
        pass
    finally:
        writer.close()


def hostile_requests(rng, count, host):
    yield b""
    yield b"GET"
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)
    yield b"GET / HTTP/1.1\r\n\r\n"
    yield b"GET / HTTP/9.9\r\nHost: x\r\n\r\n"
    yield b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nA: " + b"x" * 100_000 + b"\r\n\r\n"
    yield b"POST /frames HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: -1\r\n\r\n"
    for _ in range(count - 7):
        method = rng.choice([b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"HEAD", b"BREW"])
        paths = [b"/", b"/ws", b"/frames", b"/../../etc/passwd", b"/%00", b"/play.js/", b"//"]
        path = rng.choice([*paths, b"/?token=%ff", b"/clips.jpg", b"/" + rng.randbytes(20)])
        headers = [
            rng.choice([b"Host: " + host, b"Host: [::1", b"Host: evil", b"Host: " + host + b"@x"]),
            rng.choice([b"Origin: http://" + host, b"Origin: http://[", b"Origin: null", b"X: y"]),
            rng.choice(
                [
                    b"X-Session: ../..",
                    b"Cookie: nfd_token=\xff\xfe",
                    b"Upgrade: websocket",
                    b"Transfer-Encoding: chunked",
                    b"Content-Length: 12",
                    b"Range: bytes=0-",
                    b"Content-Type: multipart/form-data",
                    b"Expect: 100-continue",
                ]
            ),
        ]
        yield (
            b" ".join([method, path, b"HTTP/1.1\r\n"])
            + b"\r\n".join(headers)
            + b"\r\n\r\n"
            + (rng.randbytes(12))
        )


@pytest.mark.slow
def test_a_thousand_hostile_requests_disturb_nobody(caplog):
    async def run():
        rng = random.Random(0)
        limits = Limits(visitors=4, messages_per_second=5000, away_seconds=0.001)
        lobby = make_lobby(limits=limits, endless=True)
        said: list[str] = []
        async with served(lobby) as (url, _), page(url) as calm:
            await calm.do("start", seed=1)
            quiet = [picture for _, picture in await calm.walk([0, 1, 2] * 20)]
            model_id = lobby.engine.world.model_id
            messages = [*hostile_messages(rng, 700, model_id), b"bytes", b"\x00" * 1000]
            requests = list(hostile_requests(rng, 400, url.removeprefix("http://").encode()))
            assert len(messages) + len(requests) > 1000

            async def http():
                for request in requests:
                    await raw(url, request, said)

            noise = asyncio.gather(talk(url, messages, said), http())
            disturbed, delays = [], []
            await calm.do("start", seed=2)
            await calm.do("start", seed=1)
            loop = asyncio.get_running_loop()
            while not noise.done():
                began = loop.time()
                _, picture = await calm.do("step", action=[len(disturbed) % 3])
                delays.append(loop.time() - began)
                disturbed.append(picture)
                if len(disturbed) == 60:
                    assert disturbed == quiet
                    disturbed.clear()
                    await calm.do("start", seed=1)
                await asyncio.sleep(0.001)
            await noise
            assert disturbed == quiet[: len(disturbed)]
            assert len(delays) > 60
            assert sorted(delays)[int(0.95 * len(delays))] < 1.0
            too_long = json.dumps({"do": "name", "name": "x" * 70_000})
            async with page(url) as one:
                await one.socket.send_str(too_long)
                while (await one.socket.receive()).type == aiohttp.WSMsgType.TEXT:
                    pass
                assert one.socket.close_code == 1009
            assert (await calm.do("start", seed=1))[0]["step"] == 0
        everything = "\n".join(said)
        assert len(said) > 500  # the others are answered by frames
        for leak in ("Traceback", 'File "', "nfd_env/", "site-packages", "root:", "went wrong"):
            assert leak not in everything
        # aiohttp logs what is no HTTP; anything else would be a mistake of the server.
        raised = [record.exc_info[1] for record in caplog.records if record.exc_info]
        assert [error for error in raised if not isinstance(error, HttpProcessingError)] == []

    asyncio.run(run())


def test_too_many_messages_are_slowed_down():
    async def run():
        lobby = make_lobby(limits=Limits(messages_per_second=10))
        async with served(lobby) as (url, _), page(url) as one:
            for _ in range(40):
                await one.say("ping", c=1)
            kinds = [(await one.next())["kind"] for _ in range(25)]
            assert kinds[:20] == ["pong"] * 20
            assert "error" in kinds[20:]

    asyncio.run(run())
