"""The page in a real browser; skipped where there is no Chromium for Playwright."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import shutil

import numpy as np
import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("playwright")

from PIL import Image
from playwright import sync_api as playwright

from nfd_env.env import NFDWorldEnv
from nfd_env.web.limits import Limits
from tests.nfd_env.web.serving import make_lobby, served_in_a_thread
from tests.toy import ToyWorld

pytestmark = pytest.mark.slow
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
KEYS = {"ArrowLeft": 1, ".": 0, "ArrowRight": 2}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        try:
            made = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        yield made
        made.close()


@pytest.fixture(scope="module")
def server():
    with served_in_a_thread(make_lobby(endless=True)) as (url, lobby):
        yield url, lobby


class Tab:
    """A tab of a browser, and what went wrong in it."""

    def __init__(self, browser, url, **options):
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.goto(url)
        self.page.wait_for_selector("body[data-shown]")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()
        assert self.wrong == []

    def seen(self, canvas="screen"):
        """The pixels of a canvas, uint8 (H, W, 3)."""
        data = self.page.locator(f"#{canvas}").evaluate("c => c.toDataURL().split(',')[1]")
        return np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))

    def press(self, key):
        before = self.page.get_attribute("body", "data-shown")
        self.page.keyboard.press(key)
        self.page.wait_for_selector(f"body:not([data-shown='{before}'])")
        return self.seen()

    def start(self, seed):
        before = self.page.get_attribute("body", "data-shown")
        self.page.click("#new")
        self.page.fill("#seed", str(seed))
        self.page.click("#random")
        self.page.wait_for_selector(f"body:not([data-shown='{before}'])")
        return self.seen()


def expected(seed, keys):
    env = NFDWorldEnv(ToyWorld(), endless=True, speculation="off")
    return [env.reset(seed=seed)[0], *(env.step(KEYS[key])[0] for key in keys)]


def test_keys_branches_links_and_reloads(browser, server):
    url, lobby = server
    keys = ["ArrowLeft", ".", "ArrowRight", ".", "ArrowRight", "."]
    with Tab(browser, url) as tab:
        seen = [tab.start(9), *(tab.press(key) for key in keys)]
        assert all(map(np.array_equal, seen, expected(9, keys)))

        # Back by three, and another way from there.
        for _ in range(3):
            tab.press(",")
        assert np.array_equal(tab.seen(), seen[3])
        others = [tab.press(key) for key in ["ArrowLeft", "ArrowLeft"]]
        walked = [*keys[:3], "ArrowLeft", "ArrowLeft"]
        assert all(map(np.array_equal, others, expected(9, walked)[4:]))

        # Both futures at the same step.
        tab.page.click("#branches .branch:not(.here) button[aria-label='Show Start 2 beside']")
        tab.page.wait_for_timeout(300)
        assert np.array_equal(tab.seen("other"), seen[5])
        assert np.array_equal(tab.seen(), others[-1])

        # A reload, and a connection that breaks, lose nothing.
        tab.page.reload()
        tab.page.wait_for_selector("body[data-shown]")
        assert np.array_equal(tab.seen(), others[-1])
        assert tab.page.locator("#branches .branch").count() == 3
        tab.context.set_offline(True)
        drop(lobby)
        tab.page.wait_for_selector("#status.bad")
        tab.context.set_offline(False)
        tab.page.wait_for_selector("#status:not(.bad)")
        assert np.array_equal(tab.press("ArrowRight"), expected(9, [*walked, "ArrowRight"])[-1])
        assert tab.page.inner_text("#n-step") == "6"

        tab.page.click("#share")
        tab.page.wait_for_selector("#share-words:not(:empty)")
        link = tab.page.input_value("#link")
        last = tab.seen()
    assert link.startswith(f"{url}/#p=")
    with Tab(browser, link) as visitor:
        visitor.page.wait_for_selector("#status:has-text('the last frame is the recorded one')")
        assert np.array_equal(visitor.seen(), last)
        assert visitor.page.inner_text("#n-step") == "6"


def drop(lobby):
    """Closes all connections, as a network that fails does."""
    for visitor in list(lobby.visitors.values()):
        if visitor.connection is not None:
            loop = visitor.connection.socket._req.task.get_loop()
            asyncio.run_coroutine_threadsafe(visitor.connection.socket.close(), loop).result(5)


def test_a_session_that_the_server_lost_is_walked_again(browser, server):
    url, lobby = server
    with Tab(browser, url) as tab:
        tab.start(4)
        last = [tab.press(key) for key in ["ArrowLeft", "ArrowLeft", "."]][-1]
        tab.page.wait_for_timeout(3500)  # the page asks for its path now and then
        for visitor in list(lobby.visitors.values()):
            lobby.end(visitor)
        drop(lobby)
        tab.page.reload()
        tab.page.wait_for_selector("#status:has-text('replayed 3 steps')")
        assert np.array_equal(tab.seen(), last)


def test_pictures_that_the_server_and_the_page_dropped_come_back(browser):
    limits = Limits(timeline_mb=8 / 1024)
    with (
        served_in_a_thread(make_lobby(limits=limits, endless=True)) as (url, lobby),
        Tab(browser, url) as tab,
    ):
        keys = ["ArrowLeft", ".", "ArrowRight"] * 40
        seen = [tab.start(9), *(tab.press(key) for key in keys)]
        tab.page.reload()  # the page has no pictures now
        tab.page.wait_for_selector("body[data-shown]")
        (visitor,) = lobby.visitors.values()
        numbers = visitor.timeline.branches[max(visitor.timeline.branches)].moments
        for step in (3, 50):
            assert not visitor.timeline[numbers[step]].picture
            tab.page.locator("#scrub").evaluate(
                f"s => {{ s.value = {step}; s.dispatchEvent(new Event('input')); }}"
            )
            tab.page.wait_for_timeout(500)
            assert np.array_equal(tab.seen(), seen[step])
        tab.page.locator("#scrub").evaluate("s => s.dispatchEvent(new Event('change'))")
        tab.page.wait_for_selector(f"body[data-shown='{numbers[50]}']")
        others = [tab.press("ArrowRight"), tab.press("ArrowRight")]
        walked = [*keys[:50], "ArrowRight", "ArrowRight"]
        assert all(map(np.array_equal, others, expected(9, walked)[51:]))

        # Beside: the old line at the same step; then both futures from the fork to their end.
        tab.page.click("#branches .branch:not(.here) button[aria-label='Show Start 2 beside']")
        tab.page.wait_for_timeout(500)
        assert np.array_equal(tab.seen("other"), seen[52])
        tab.page.select_option("#speed", "30")
        tab.page.click("#watch")
        tab.page.wait_for_timeout(5000)
        assert np.array_equal(tab.seen("other"), seen[-1])
        assert np.array_equal(tab.seen(), others[-1])


def test_two_visitors_play_at_once(browser, server):
    url, _ = server
    with Tab(browser, url) as one, Tab(browser, url, has_touch=True) as two:
        one.start(1)
        two.start(2)
        for tab in (one, two):
            tab.page.select_option("#speed", "30")
            tab.page.click("#play")
        for tab in (one, two):
            tab.page.wait_for_timeout(1500)
            tab.page.click("#play")
            tab.page.wait_for_timeout(300)
        for tab, seed in ((one, 1), (two, 2)):
            step = int(tab.page.inner_text("#n-step"))
            assert step > 15
            assert np.array_equal(tab.seen(), expected(seed, ["."] * step)[-1])


@pytest.mark.parametrize("size", [(390, 844), (1280, 800)])
def test_the_page_fits(browser, server, size):
    url, _ = server
    with Tab(browser, url, viewport={"width": size[0], "height": size[1]}) as tab:
        tab.press("ArrowLeft")
        width = tab.page.locator("html").evaluate("e => e.scrollWidth")
        assert width <= size[0]
        for button in tab.page.locator("#bar button, #pad button").all():
            box = button.bounding_box()
            assert box["width"] >= 40
            assert box["height"] >= 40
            assert button.evaluate("b => b.scrollWidth <= b.clientWidth + 1")


def test_an_end_is_told_in_words_and_across_a_phone(browser):
    with (
        served_in_a_thread() as (url, _),
        Tab(browser, url, viewport={"width": 390, "height": 844}) as tab,
    ):
        tab.start(0)  # which is over before its time
        while "the episode has ended" not in tab.page.inner_text("#status"):
            tab.press(".")
        assert "terminated" not in tab.page.inner_text("body")
        assert tab.page.inner_text("#branches .here small").endswith(", ended")
        said, numbers = (
            tab.page.locator(f"#{name}").bounding_box() for name in ("status", "meters")
        )
        assert said["width"] > 300
        assert said["y"] >= numbers["y"] + numbers["height"]  # no tall column beside them
        assert said["height"] < 50
