from __future__ import annotations

import asyncio
import io
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("aiohttp")

import aiohttp
from PIL import Image

from nfd_env.env import NFDWorldEnv
from nfd_env.path_file import load_path
from nfd_env.web import links as links_of_paths
from nfd_env.web.app import STATIC
from nfd_env.web.guard import Guard
from nfd_env.web.limits import Limits
from tests.nfd_env.web.serving import make_lobby, page, served
from tests.toy import ToyWorld
from tests.world_model.tiny import tiny_world

ACTIONS = [0, 1, 1, 2, 0, 2, 2, 2, 1, 0]


def pixels(picture):
    return np.array(Image.open(io.BytesIO(picture)))


def expected(seed, actions, world=None):
    env = NFDWorldEnv(world or ToyWorld(), speculation="off", endless=True)
    frames, rewards = [env.reset(seed=seed)[0]], [0.0]
    for action in actions:
        frame, reward, *_ = env.step(action)
        frames.append(frame)
        rewards.append(reward)
    return frames, rewards


def test_frames_are_those_of_the_environment():
    async def run():
        async with served() as (url, _), page(url) as one:
            seen = [await one.do("start", seed=7), *await one.walk(ACTIONS)]
        frames, rewards = expected(7, ACTIONS)
        for (header, picture), frame, reward in zip(seen, frames, rewards, strict=True):
            assert np.array_equal(pixels(picture), frame)
            assert header["reward"] == reward
        assert seen[-1][0]["total"] == sum(rewards)
        assert [header["step"] for header, _ in seen] == list(range(len(ACTIONS) + 1))

    asyncio.run(run())


def test_keys_are_actions():
    async def run():
        async with served() as (url, _), page(url) as one:
            await one.do("start", seed=7)
            by_key = [(await one.do("step", keys=k))[1] for k in (["left"], [], ["a", "d"])]
            await one.do("start", seed=7)
            by_number = [picture for _, picture in await one.walk([1, 0, 2])]
        assert by_key == by_number

    asyncio.run(run())


def test_going_back_and_doing_something_else_keeps_both_futures():
    async def run():
        async with served(make_lobby(endless=True)) as (url, lobby), page(url) as one:
            start, *rest = [await one.do("start", seed=3), *await one.walk([0] * 20)]
            back = await one.do("go", n=rest[4][0]["n"])
            assert back[1] == rest[4][1]
            other = await one.walk([2, 2, 1])
            assert other[0][0]["branch"] != rest[0][0]["branch"]
            frames, _ = expected(3, [0] * 5 + [2, 2, 1])
            for (_, picture), frame in zip(other, frames[6:], strict=True):
                assert np.array_equal(pixels(picture), frame)
            # The old future is still there, and going there again does not imagine it anew.
            rounds = lobby.engine.rounds
            await one.do("go", n=rest[4][0]["n"])
            assert [p for _, p in await one.walk([0] * 15)] == [p for _, p in rest[5:]]
            assert lobby.engine.rounds == rounds
            looked, picture = await one.do("look", n=start[0]["n"])
            assert looked["look"]
            assert picture == start[1]
            await one.say("name", branch=other[0][0]["branch"], name="the other door")
            assert (await one.until("named"))["name"] == "the other door"
            await one.say("forget", branch=other[0][0]["branch"])
            assert (await one.until("forgotten"))["branches"] == [other[0][0]["branch"]]

    asyncio.run(run())


@pytest.mark.parametrize("how", [{"seed": 5}, {"seed": 5, "clip": 2}, {"seed": 5, "upload": True}])
def test_a_link_replays_a_path_exactly_elsewhere(how, monkeypatch):
    monkeypatch.setattr(links_of_paths, "LONGEST", 1000)  # frames do not fit into an address

    async def run():
        uploads = [Image.fromarray(frame) for frame in tiny_world().contexts.frames[1]]
        links, paths = [], []
        async with served(make_lobby(tiny_world(), endless=True)) as (url, _):
            async with page(url) as one:
                if "upload" in how:
                    assert (await upload(url, one.welcome["session"], uploads))[0] == 200
                paths.append([await one.do("start", **how), *await one.walk(ACTIONS * 3)])
                await one.say("share", n=paths[0][-1][0]["n"])
                links.append((await one.until("link"))["link"])
            async with page(url) as two:
                await two.say("replay", link=links[0])
                assert (await two.until("replaying"))["steps"] == 30
                paths.append([await two.frame() for _ in range(31)])
                assert (await two.until("replayed"))["same"] is True
        assert [p for _, p in paths[0]] == [p for _, p in paths[1]]
        assert links[0].startswith("s=" if "upload" in how else "p=")
        if "clip" not in how and "upload" not in how:
            frames, _ = expected(5, ACTIONS * 3, tiny_world())
            assert all(
                np.array_equal(pixels(p), f) for (_, p), f in zip(paths[0], frames, strict=True)
            )

    asyncio.run(run())


async def upload(url, session, pictures, fit=0, kind="PNG", **headers):
    form = aiohttp.FormData()
    for picture in pictures:
        data = picture
        if not isinstance(picture, bytes):
            buffer = io.BytesIO()
            picture.save(buffer, kind)
            data = buffer.getvalue()
        form.add_field("frames", data, filename="a.png")
    headers = {"Origin": url, "X-Session": session, **headers}
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{url}/frames?fit={fit}", data=form, headers=headers) as answer,
    ):
        return answer.status, await answer.text()


def test_uploads_are_checked():
    async def run():
        limits = Limits(visitors=2, upload_mb=0.2)
        async with served(make_lobby(limits=limits)) as (url, _), page(url) as one:
            session = one.welcome["session"]
            good, large = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (40, 30), "red")
            assert await upload(url, session, [good]) == (200, '{"frames": 1}')
            assert (await upload(url, session, [large], fit=1))[0] == 200
            noise = np.random.default_rng(0).bytes(300_000)
            bomb = Image.new("L", (5000, 5000))
            for pictures, words in [
                ([large], "40x30 pixels; this world takes 16x16"),
                ([good] * 5, "at most 4"),
                ([], "damaged|give 1 to 4|as a form"),
                ([b"no picture"], "could not be read"),
                ([bomb], "at most 16 million"),
                ([noise], "MiB can be uploaded"),
            ]:
                status, said = await upload(url, session, pictures)
                assert status == 400
                assert any(word in said for word in words.split("|")), said
            assert (await upload(url, session, [good], kind="GIF"))[0] == 400
            assert (await upload(url, "nobody", [good]))[0] == 403
            assert (await upload(url, session, [good], Origin="http://evil.example"))[0] == 403

    asyncio.run(run())


def test_two_visitors_do_not_see_each_other():
    async def play(url, seed, actions):
        async with page(url) as one:
            return [await one.do("start", seed=seed), *await one.walk(actions)]

    async def run():
        async with served() as (url, _):
            paths = [(1, ACTIONS), (2, ACTIONS[::-1]), (1, [2] * 10)]
            seen = await asyncio.gather(*(play(url, *path) for path in paths))
        for path, frames in zip(paths, seen, strict=True):
            for (_, picture), frame in zip(frames, expected(*path)[0], strict=True):
                assert np.array_equal(pixels(picture), frame)

    asyncio.run(run())


def test_a_session_outlives_its_connection():
    async def run():
        async with served() as (url, _):
            async with page(url) as one:
                session = one.welcome["session"]
                await one.do("start", seed=7)
                seen = await one.walk(ACTIONS[:5])
            async with page(url, session) as again:
                assert again.welcome["session"] == session
                assert again.welcome["here"] == seen[-1][0]["n"]
                assert len(again.welcome["timeline"]["moments"]) == 6
                seen += await again.walk(ACTIONS[5:])
                async with page(url, session) as third:  # another tab takes over
                    assert (await again.until("ended"))["words"].endswith("another tab.")
                    assert third.welcome["here"] == seen[-1][0]["n"]
            frames, _ = expected(7, ACTIONS)
            assert np.array_equal(pixels(seen[-1][1]), frames[-1])

    asyncio.run(run())


def test_a_full_house_says_so_and_the_away_make_room():
    async def run():
        lobby = make_lobby(limits=Limits(visitors=2, away_seconds=5, idle_minutes=1))
        now = [0.0]
        lobby.clock = lambda: now[0]
        async with served(lobby) as (url, _):
            async with page(url) as one, page(url):
                async with page(url) as third:
                    assert third.welcome["kind"] == "refused"
                    assert "all 2 places are taken" in third.welcome["words"]
                await one.do("start", seed=1)
            await asyncio.sleep(0.05)
            async with page(url) as third:
                assert third.welcome["kind"] == "refused"
            now[0] = 6.0
            async with page(url) as third:
                assert third.welcome["kind"] == "welcome"
                now[0] = 100.0
                assert {words for _, words in lobby.overdue()} == {"nothing happened for 1 minutes"}

    asyncio.run(run())


def test_an_ended_episode_goes_no_further():
    async def run():
        async with served() as (url, _), page(url) as one:
            await one.do("start", seed=0)
            header = {"ended": ""}
            while not header["ended"]:
                header, _ = await one.do("step", keys=[])
            await one.say("step", keys=[])
            told = await one.next()
            assert "the episode has ended here" in told["words"]
            await one.do("go", n=header["parent"])
            await one.do("step", keys=["left"])

    asyncio.run(run())


def test_a_replay_can_be_stopped():
    async def run():
        async with served(make_lobby(endless=True)) as (url, _), page(url) as one:
            await one.do("start", seed=0)
            last = (await one.walk([1] * 30))[-1]
            await one.say("share", n=last[0]["n"])
            link = (await one.until("link"))["link"]
            async with page(url) as two:
                await two.say("replay", link=link, fps=20)
                await two.frame()
                await two.say("stop")
                await two.until("stopped")
                assert (await two.do("step", keys=["right"]))[0]["step"] < 20

    asyncio.run(run())


def test_a_link_of_another_world_or_damaged_is_refused():
    async def run():
        async with served() as (url, _), page(url) as one:
            await one.do("start", seed=0)
            last = (await one.walk([1]))[-1]
            await one.say("share", n=last[0]["n"])
            link = (await one.until("link"))["link"]
            other = make_lobby(tiny_world(), sampling_steps=1)
            async with served(other) as (elsewhere, _), page(elsewhere) as two:
                for bad, words in [
                    (link, "of the world toy@1"),
                    (link[:-9], "damaged|cut off"),
                    ("p=!", "damaged"),
                    ("s=unknown", "forgotten"),
                    ("x", "no link"),
                    (3, "text of a link"),
                ]:
                    await two.say("replay", link=bad)
                    told = await two.next()
                    assert any(word in told["words"] for word in words.split("|")), told

    asyncio.run(run())


def test_strangers_stay_outside():
    async def status(url, path="/", **headers):
        async with (
            aiohttp.ClientSession() as client,
            client.get(url + path, headers=headers, allow_redirects=False) as answer,
        ):
            return answer.status, answer

    async def run():
        async with served() as (url, _):
            assert (await status(url))[0] == 200
            assert (await status(url, Host="evil.example"))[0] == 403
            assert (await status(url, Host="192.168.0.7"))[0] == 403
            for origin in ("http://evil.example", "null", "", "file://"):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    async with page(url, headers={"Origin": origin}):
                        pass
                assert refused.value.status == 403
            for path in ("/../pyproject.toml", "/%2e%2e/app.py", "/static/play.js", "/app.py"):
                assert (await status(url, path))[0] == 404
        async with served(guard=Guard("0.0.0.0", "secret")) as (url, _):
            assert (await status(url))[0] == 401
            assert (await status(url, "/?token=wrong"))[0] == 401
            assert (await status(url, "/clips.jpg"))[0] == 401
            assert (await status(url, "/?token=secret", Host="evil.example"))[0] == 403
            code, answer = await status(url, "/?token=secret")
            cookie = answer.headers["Set-Cookie"]
            assert (code, answer.headers["Location"]) == (303, "/")
            assert "HttpOnly" in cookie
            assert "SameSite=Strict" in cookie
            assert (await status(url, Cookie="nfd_token=secret"))[0] == 200
            with pytest.raises(aiohttp.WSServerHandshakeError):
                async with page(url):
                    pass
            async with page(url, headers={"Cookie": "nfd_token=secret"}) as one:
                assert one.welcome["kind"] == "welcome"

    asyncio.run(run())


def test_the_page_needs_nothing_from_elsewhere():
    async def run():
        async with served() as (url, _), aiohttp.ClientSession() as client:
            for path in STATIC:
                async with client.get(url + path) as answer:
                    text = (await answer.text()).replace("http://www.w3.org/2000/svg", "")
                    policy = answer.headers["Content-Security-Policy"]
                assert "http://" not in text
                assert "https://" not in text
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
            async with client.get(url + "/clips.jpg") as answer:
                sheet = pixels(await answer.read())
            assert sheet.shape == (5 * 16, 16, 3)

    asyncio.run(run())


def test_a_link_holds_a_saved_path(tmp_path):
    """What `nfd play` and `nfd film` read is what a link holds."""

    async def run():
        async with served(make_lobby(endless=True)) as (url, _), page(url) as one:
            await one.do("start", seed=5)
            last = (await one.walk([1, 1, 1, 0]))[-1]
            await one.say("share", n=last[0]["n"])
            return (await one.until("link"))["link"]

    file = tmp_path / "path.json"
    file.write_text(links_of_paths.inflate(asyncio.run(run()).removeprefix("p=")))
    path = load_path(file)
    assert (path.world, path.seed, path.contexts) == (ToyWorld().model_id, 5, "bundled")
    assert [(*stretch.action, stretch.steps) for stretch in path.actions] == [(1, 3), (0, 1)]


def test_steps_that_come_out_differently_are_told():
    async def run():
        async with served(make_lobby(endless=True)) as (url, lobby), page(url) as one:
            await one.do("start", seed=5)
            seen = await one.walk([1, 1, 0])
            (visitor,) = lobby.visitors.values()
            moment = visitor.timeline.moments[seen[0][0]["n"]]
            await one.do("go", n=seen[1][0]["n"])
            await one.walk([2])
            assert "drifted" not in [message["kind"] for message in one.told]
            visitor.timeline.moments[moment.id] = replace(moment, check=moment.check ^ 1)
            await one.do("go", n=seen[1][0]["n"])
            await one.walk([1])
            assert "drifted" in [message["kind"] for message in one.told]

    asyncio.run(run())
