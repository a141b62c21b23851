from __future__ import annotations

import asyncio
import functools
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
import torch

pytest.importorskip("aiohttp")

from nfd_env.web import command
from nfd_env.web.guard import Guard, is_loopback
from nfd_env.web.limits import Limits, RequestError
from tests.nfd_env.web.serving import make_lobby
from world_model.errors import ConfigError


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(command, "make_lobby", lambda options: make_lobby())


def test_a_busy_port_is_named(toy):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is taken.*--port"):
            command.main(["--web", "--port", str(port)])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "70000"], "0 to 65535"),
        (["--batch", "0"], "at least 1"),
        (["--host", "not a host"], "cannot listen on"),
    ],
)
def test_what_cannot_be_listened_on(toy, arguments, words):
    with pytest.raises(ConfigError, match=words):
        command.main(arguments)


@pytest.mark.parametrize("name", ["visitors", "upload_mb", "idle_minutes"])
def test_limits_are_above_zero(name):
    with pytest.raises(RequestError, match=f"{name}=0"):
        Limits(**{name: 0})


@pytest.mark.parametrize(
    ("host", "header", "known"),
    [
        ("127.0.0.1", "localhost:8765", True),
        ("127.0.0.1", "[::1]:8765", True),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "10.0.0.1", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "[", False),
        ("0.0.0.0", "10.0.0.1:80", True),
        ("0.0.0.0", "evil.example", False),
        ("0.0.0.0", "play.example.org", True),
    ],
)
def test_hosts(host, header, known):
    assert Guard(host, None, ("play.example.org",)).knows_host(header) is known
    assert is_loopback(host) is (host == "127.0.0.1")


SERVE = """
import sys
from nfd_env.web import command
from tests.nfd_env.web.serving import make_lobby
command.make_lobby = lambda options: make_lobby()
sys.exit(command.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_beyond_this_machine_a_token_is_needed_and_ctrl_c_stops(repository):
    running = subprocess.Popen(
        [sys.executable, "-c", SERVE, "--host", "0.0.0.0", "--port", "0"],
        cwd=repository,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = running.stdout.readline()
        port, token = re.search(r"http://0\.0\.0\.0:(\d+)/\?token=([\w-]{40,})", line).groups()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10)
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        page = opener.open(f"http://127.0.0.1:{port}/?token={token}", timeout=10)
        assert b"NFD-World" in page.read()
        running.send_signal(signal.SIGINT)
        assert running.wait(15) == 0
        assert running.stderr.read() == ""
    finally:
        running.kill()
        running.communicate()


def test_by_default_no_frame_depends_on_who_else_plays():
    lobby = command.make_lobby(command.WebOptions(world="tests.toy:ToyWorld"))
    try:
        assert lobby.engine.most == 1
        assert lobby.engine.core.num_envs == Limits().visitors
    finally:
        lobby.engine.close()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_visitors_are_served_in_the_precision_that_was_asked_for(precision):
    options = command.WebOptions(
        world="tests.world_model.tiny:tiny_world", precision=precision, limits=Limits(visitors=1)
    )
    lobby = command.make_lobby(options)
    try:
        network = lobby.engine.core.rollout.network
        assert network.embed.weight.dtype == getattr(torch, precision)
    finally:
        lobby.engine.close()


@pytest.mark.slow
def test_what_is_compiled_is_compiled_before_anybody_comes(monkeypatch, capsys):
    graphs = []

    def count(graph, inputs, **_):
        graphs.append(graph)
        return graph.forward

    compiled = functools.partial(torch.compile, backend=count)
    monkeypatch.setattr(torch, "compile", compiled)
    limits = Limits(visitors=3)
    options = command.WebOptions(
        world="tests.world_model.tiny:tiny_world",
        compile=True,
        sampling_steps=1,
        batch=2,
        endless=True,
        limits=limits,
    )
    lobby = command.make_lobby(options)
    try:
        before = len(graphs)
        # For each number of streams: the first pass, those that follow, noise, what a frame brings.
        assert before == 2 * 4
        assert "compiling" in capsys.readouterr().out
        engine, action = lobby.engine, np.array([1], np.float32)

        async def play():
            await asyncio.gather(*(engine.reset(stream, seed=1) for stream in range(3)))
            numbers = (None, 1, 2, 4, 8)
            steps = (engine.step(i % 3, action, number) for number in numbers for i in range(9))
            return await asyncio.gather(*steps)

        assert {seen.batch for seen in asyncio.run(play())} == {1, 2}
        assert len(graphs) == before
        assert not engine.core.rollout.compiled.failed
    finally:
        lobby.engine.close()
