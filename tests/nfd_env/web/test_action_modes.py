"""A world of Minecraft in a browser, with other actions than its own."""

from __future__ import annotations

import asyncio
import io
import json

import numpy as np
import pytest
from gymnasium import spaces

pytest.importorskip("aiohttp")

from PIL import Image

from nfd_env import action_adapter
from nfd_env.controls import Controls
from nfd_env.env import NFDWorldEnv
from nfd_env.web import command
from nfd_env.web.links import deflate, inflate
from tests.nfd_env.web.serving import make_lobby, page, served
from tests.world_model.tiny import minecraft_world, tiny_world
from world_model.action_spec import ActionSpec
from world_model.errors import ConfigError
from world_model.minecraft.formats import FORMATS

SETTINGS = {"endless": True, "sampling_steps": 1}
# Keys and mouse of a walk. In the discrete table a jump takes the place of a turn, and of drop.
WALK = [(["w", "space"], [0, 0]), (["q"], [0, 0]), ([], [80, -30]), (["a", "right"], [0, 0])]


def walked(mode, seed=3):
    """Frames of the environment in a mode, under the keys of the walk."""
    env = NFDWorldEnv(minecraft_world(), action_mode=mode, speculation="off", **SETTINGS)
    controls = Controls(env.core.adapter)
    frames = [env.reset(seed=seed)[0]]
    return frames + [env.step(controls.action(keys, mouse))[0] for keys, mouse in WALK]


async def walk(one):
    """The same by the page: frames, and the link to the last one."""
    seen = [await one.do("start", seed=3)]
    seen += [await one.do("step", keys=keys, mouse=mouse) for keys, mouse in WALK]
    await one.say("share", n=seen[-1][0]["n"])
    frames = [np.array(Image.open(io.BytesIO(picture))) for _, picture in seen]
    return frames, (await one.until("link"))["link"]


def run(world, mode, act):
    async def inside():
        lobby = make_lobby(world, action_mode=mode, **SETTINGS)
        async with served(lobby) as (url, _), page(url) as one:
            return await act(one)

    return asyncio.run(inside())


@pytest.mark.parametrize("mode", [None, "discrete", "mineworld", "oasis"])
def test_frames_are_those_of_an_agent_that_takes_the_actions_of_the_mode(mode):
    frames, _ = run(minecraft_world(), mode, walk)
    assert all(map(np.array_equal, frames, walked(mode)))


def test_modes_differ():
    """Otherwise the test above would hold for a server that knows no modes."""
    own, discrete = walked(None), walked("discrete")
    assert np.array_equal(own[1], discrete[1])  # both can say forward and jump
    assert not np.array_equal(own[2], discrete[2])  # the table has no drop


@pytest.mark.parametrize("mode", ["minerl", "discrete", "multidiscrete"])
def test_the_page_is_told_the_keys_of_the_mode(mode):
    async def controls(one):
        return one.welcome["controls"]

    told = run(minecraft_world(), mode, controls)
    meant = Controls(FORMATS[mode].spec)
    assert told["bindings"] == [{"does": b.does, "keys": list(b.keys)} for b in meant.bindings]
    assert told["rest"] == meant.rest
    assert ("drop" in [b["does"] for b in told["bindings"]]) is (mode != "discrete")


@pytest.mark.parametrize(("made_in", "opened_in"), [("discrete", None), (None, "discrete")])
def test_a_link_of_one_mode_replays_in_another(made_in, opened_in):
    frames, link = run(minecraft_world(), made_in, walk)

    async def replay(one):
        await one.say("replay", link=link)
        seen = [await one.frame() for _ in range(len(WALK) + 1)]
        return seen, await one.until("replayed")

    seen, told = run(minecraft_world(), opened_in, replay)
    assert told["same"] is True
    assert told["steps"] == len(WALK)
    again = [np.array(Image.open(io.BytesIO(picture))) for _, picture in seen]
    assert all(map(np.array_equal, again, frames))


def test_numbers_in_a_message_are_the_worlds_own_in_every_mode():
    world = minecraft_world()
    dim = world.action_spec.dim
    assert FORMATS["discrete"].spec.dim != dim

    async def act(one):
        await one.do("start", seed=3)
        return (await one.do("step", action=[0.0] * dim))[0]

    assert run(world, "discrete", act)["step"] == 1


# -- chosen by the visitor ------------------------------------------------------------------


def test_a_visitor_starts_in_another_mode_and_returns_to_the_first():
    async def act(one):
        assert (one.welcome["mode"], one.welcome["modes"]["own"]) == ("minerl", "minerl")
        assert one.welcome["modes"]["names"] == list(
            action_adapter.action_modes(FORMATS["minerl"].spec)
        )
        own = await one.do("start", seed=3)
        seen = [await one.do("start", seed=3, mode="discrete")]
        assert seen[0][0]["branch"] != own[0]["branch"]
        told = [message for message in one.told if message["kind"] == "controls"]
        assert [message["mode"] for message in told] == ["discrete"]
        assert "drop" not in [b["does"] for b in told[0]["controls"]["bindings"]]
        seen += [await one.do("step", keys=keys, mouse=mouse) for keys, mouse in WALK]
        frames = [np.array(Image.open(io.BytesIO(picture))) for _, picture in seen]
        assert all(map(np.array_equal, frames, walked("discrete")))
        # To look at another line changes nothing, to go there does; a start keeps the mode.
        await one.do("look", n=own[0]["n"])
        again = await one.do("start", seed=3)
        assert again[0]["n"] == seen[0][0]["n"]
        await one.do("go", n=own[0]["n"])
        assert one.told[-1]["mode"] == "minerl"
        last = [await one.do("step", keys=keys, mouse=mouse) for keys, mouse in WALK][-1]
        assert np.array_equal(np.array(Image.open(io.BytesIO(last[1]))), walked(None)[-1])
        assert last[0]["branch"] == own[0]["branch"]

    run(minecraft_world(), None, act)


def test_the_same_start_in_another_mode():
    async def act(one):
        first = await one.do("start", seed=5, clip=2)
        step = await one.do("step", keys=["w"])
        other = await one.do("start", like=step[0]["n"], mode="oasis")
        assert (other[1], other[0]["step"]) == (first[1], 0)
        assert other[0]["n"] != first[0]["n"]
        back = await one.do("start", like=other[0]["n"], mode="minerl")
        assert back[0]["n"] == first[0]["n"]

    run(minecraft_world(), None, act)


def test_a_link_carries_its_mode_to_servers_with_another_one():
    async def play(one):
        await one.do("start", seed=3, mode="discrete")
        for keys, mouse in WALK:
            await one.do("step", keys=keys, mouse=mouse)
        await one.say("share", n=one.shown)
        return (await one.until("link"))["link"]

    async def replay(one):
        await one.say("replay", link=link)
        assert (await one.until("replayed"))["same"] is True
        modes = [message["mode"] for message in one.told if message["kind"] == "controls"]
        await one.say("share", n=one.shown)
        return modes, (await one.until("link"))["link"]

    link = run(minecraft_world(), None, play)
    assert run(minecraft_world(), "oasis", replay) == (["discrete"], link)


@pytest.mark.parametrize("mode", ["joystick", 3, ["discrete"], "", {}])
def test_an_unknown_mode_is_one_error(mode):
    words = f"there is no action mode {str(mode)!r} here: choose one of minerl, "

    async def act(one):
        await one.say("start", seed=3, mode=mode)
        message = await one.next()
        await one.do("start", seed=3)
        await one.say("share", n=one.shown)
        link = (await one.until("link"))["link"]
        document = json.loads(inflate(link.removeprefix("p=")))
        document["action_mode"] = mode
        await one.say("replay", link="p=" + deflate(json.dumps(document)))
        return [message, await one.next(), (await one.do("step", keys=["w"]))[0]["step"]]

    *told, step = run(minecraft_world(), None, act)
    assert [message["words"].startswith(words) for message in told] == [True, True]
    assert step == 1


def test_a_world_with_its_own_actions_only_offers_none_and_its_links_name_none():
    async def act(one):
        assert (one.welcome["mode"], one.welcome["modes"]["names"]) == ("", [])
        await one.say("start", seed=3, mode="discrete")
        words = (await one.next())["words"]
        await one.do("start", seed=3)
        await one.say("share", n=one.shown)
        return words, inflate((await one.until("link"))["link"].removeprefix("p="))

    words, document = run(tiny_world(), None, act)
    assert words == "there is no action mode 'discrete' here: leave it out."
    assert "mode" not in document


# -- the command ----------------------------------------------------------------------------


def options(**more):
    return command.WebOptions(
        world="tests.world_model.tiny:minecraft_world", sampling_steps=1, **more
    )


def test_the_option_reaches_the_server(monkeypatch):
    asked = []

    async def serve(given):
        asked.append(given.action_mode)

    monkeypatch.setattr(command, "_serve", serve)
    command.main(["--web", "--action-mode", "discrete"])
    assert asked == ["discrete"]
    lobby = command.make_lobby(options(action_mode="discrete"))
    try:
        controls = lobby.modes.controls[lobby.modes.default]
        assert controls.spec.space == FORMATS["discrete"].spec.space
        assert controls.world_vector(["w"]).shape == (lobby.engine.world.action_spec.dim,)
    finally:
        lobby.engine.close()


def test_a_mode_that_there_is_not():
    with pytest.raises(ConfigError, match=r"'joystick'.*discrete, multidiscrete.*own is minerl"):
        command.make_lobby(options(action_mode="joystick"))


def test_a_mode_that_keys_cannot_play_is_refused_before_the_server_starts(monkeypatch):
    class Unbounded:
        """A number without bounds for every number of the world."""

        def __init__(self, spec):
            self.own = spec
            self.spec = ActionSpec.from_space(spaces.Box(-np.inf, np.inf, (2,), np.float32))
            self.space = self.spec.space

    modes = {"minecraft": lambda spec: {"unbounded": Unbounded(spec)}}
    monkeypatch.setattr(action_adapter, "_FAMILIES", modes)
    words = r"in a browser with --action-mode unbounded: .*without bounds"
    with pytest.raises(ConfigError, match=words):
        command.make_lobby(options(action_mode="unbounded"))
