"""Worlds with many buttons on a phone, and with other actions than their own, in a real browser."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

pytest.importorskip("aiohttp")
pytest.importorskip("playwright")

from nfd_env.controls import Controls
from nfd_env.env import NFDWorldEnv
from tests.nfd_env.web.serving import make_lobby, served_in_a_thread
from tests.nfd_env.web.test_browser import Tab, browser  # noqa: F401
from tests.world_model.tiny import minecraft_world, tiny_world
from world_model.action_spec import ActionSpec

pytestmark = pytest.mark.slow
SETTINGS = {"endless": True, "sampling_steps": 1}
HEIGHT = 844
BOX = """e => {
    const { left, top, right, bottom } = e.getBoundingClientRect();
    return [left, top, right, bottom];
}"""
PHONE = {"viewport": {"width": 390, "height": HEIGHT}, "has_touch": True, "is_mobile": True}
CRAFTER = ["noop", "move_left", "move_right", "move_up", "move_down", "do", "sleep"]
CRAFTER += [f"place_{what}" for what in ("stone", "table", "furnace", "plant")]
CRAFTER += [
    f"make_{of}_{tool}" for tool in ("pickaxe", "sword") for of in ("wood", "stone", "iron")
]


def choices(count, names=None):
    return tiny_world(spec=ActionSpec.from_space(spaces.Discrete(count), names=names))


WORLDS = {
    "minecraft": minecraft_world(),
    "one cross": choices(17, CRAFTER),
    "no names": choices(18),
}


@pytest.fixture(scope="module", params=WORLDS)
def server(request):
    with served_in_a_thread(make_lobby(WORLDS[request.param], **SETTINGS)) as (url, _):
        yield url, WORLDS[request.param]


@pytest.fixture(scope="module")
def minecraft():
    with served_in_a_thread(make_lobby(WORLDS["minecraft"], **SETTINGS)) as (url, _):
        yield url, WORLDS["minecraft"]


def box(tab, what):
    """(left, top, right, bottom) on the screen."""
    return tab.page.locator(what).evaluate(BOX)


def check_buttons(tab, width):
    """Large enough for a finger, inside of the page, and with room for their words."""
    assert tab.page.locator("html").evaluate("e => e.scrollWidth") <= width
    seen = tab.page.locator("#pad :is(button, summary), #bar :is(button, select)").evaluate_all(
        f"all => all.filter((b) => b.checkVisibility())"
        f".map((b) => [b.outerHTML, ({BOX})(b), b.scrollWidth <= b.clientWidth + 1])"
    )
    assert len(seen) > 15
    for which, (left, top, right, bottom), fits in seen:
        assert right - left >= 40, which
        assert bottom - top >= 40, which
        assert left >= 0, which
        assert right <= width, which
        assert fits, which


def expected(world, keys):
    env, controls = NFDWorldEnv(world, speculation="off", **SETTINGS), Controls(world.action_spec)
    return [env.reset(seed=3)[0], *(env.step(controls.action([key]))[0] for key in keys)]


def test_all_that_playing_takes_is_on_one_screen(browser, server):  # noqa: F811
    url, world = server
    with Tab(browser, url, **PHONE) as tab:
        tab.start(3)
        assert tab.page.evaluate("scrollY") == 0
        assert box(tab, "#screen")[1] >= 0
        assert box(tab, "#screen")[2] - box(tab, "#screen")[0] >= 240  # still worth looking at
        for what in ("#n-total", "#play", "#back", "#restart", "#new", "#share", "#scrub"):
            assert box(tab, what)[3] <= HEIGHT, what
        known = {binding.does for binding in Controls(world.action_spec).bindings}
        for does in known & {"forward", "left", "right", "back", "up", "down", "jump", "attack"}:
            assert box(tab, f"#pad button[aria-label='{does}']")[3] <= HEIGHT
        check_buttons(tab, 390)


@pytest.mark.parametrize("width", [320, 360, 768, 1440])
def test_other_widths(browser, server, width):  # noqa: F811
    url, _ = server
    with Tab(browser, url, viewport={"width": width, "height": 900}) as tab:
        fold = tab.page.locator("#pad details")
        if fold.count() and not fold.evaluate("d => d.open"):
            tab.page.click("#pad summary")
        check_buttons(tab, width)


def test_every_action_has_a_button_and_those_that_move_come_first(browser, server):  # noqa: F811
    url, world = server
    with Tab(browser, url, **PHONE) as tab:
        if tab.page.locator("#pad summary").count():
            tab.page.tap("#pad summary")
        buttons = tab.page.locator("#pad button")
        labels = buttons.evaluate_all("all => all.map((b) => b.getAttribute('aria-label'))")
        known = [binding.does for binding in Controls(world.action_spec).bindings]
        assert sorted(labels) == sorted(known)
        assert all(button.is_visible() for button in buttons.all())
        up, down = ("forward", "back") if "forward" in known else ("up", "down")
        moving = [does for does in (up, "left", down, "right") if does in known]
        assert labels[: len(moving)] == moving
        check_buttons(tab, 390)
        where = {does: box(tab, f"#pad button[aria-label='{does}']") for does in moving}
        if moving:
            assert where["left"][2] <= where["right"][0]
            assert where[up][3] <= where[down][1]


def test_a_finger_presses_what_was_folded_away(browser, minecraft):  # noqa: F811
    url, world = minecraft
    with Tab(browser, url, **PHONE) as tab:
        seen = [tab.start(3)]
        assert not tab.page.locator("#pad button[aria-label=drop]").is_visible()
        tab.page.tap("#pad summary")
        for does in ("drop", "hotbar 4", "forward"):
            before = tab.page.get_attribute("body", "data-shown")
            tab.page.tap(f"#pad button[aria-label='{does}']")
            tab.page.wait_for_selector(f"body:not([data-shown='{before}'])")
            seen.append(tab.seen())
        assert all(map(np.array_equal, seen, expected(world, ["q", "4", "w"])))
        tab.page.reload()  # what is unfolded stays so
        tab.page.wait_for_selector("body[data-shown]")
        assert tab.page.locator("#pad button[aria-label=drop]").is_visible()


@pytest.mark.parametrize("key", ["Space", "Enter"])
def test_the_fold_opens_by_keyboard_and_nothing_else_happens(browser, minecraft, key):  # noqa: F811
    """Both keys mean something here: a jump, and playing."""
    url, world = minecraft
    with Tab(browser, url, **PHONE) as tab:
        start = tab.start(3)
        tab.page.focus("#pad summary")
        tab.page.keyboard.press(key)
        tab.page.wait_for_selector("#pad details[open]")
        assert tab.page.inner_text("#play") == "Play"
        tab.page.keyboard.press("Tab")
        assert tab.page.evaluate("document.activeElement.ariaLabel") == "esc"
        assert np.array_equal(tab.seen(), start)
        seen = tab.press(key)  # on a button both take one step
        assert np.array_equal(seen, expected(world, ["x"])[-1])


def test_another_mode_has_its_own_buttons_and_its_links_replay_in_this_one(browser, minecraft):  # noqa: F811
    own_url, world = minecraft
    lobby = make_lobby(world, action_mode="discrete", **SETTINGS)
    env = NFDWorldEnv(world, action_mode="discrete", speculation="off", **SETTINGS)
    controls = Controls(env.core.adapter)
    expect = [env.reset(seed=3)[0], env.step(controls.action(["w"]))[0]]
    with served_in_a_thread(lobby) as (url, _), Tab(browser, url) as tab:
        seen = [tab.start(3), tab.press("w")]
        labels = tab.page.locator("#pad button").evaluate_all("all => all.map((b) => b.ariaLabel)")
        assert sorted(labels) == sorted(binding.does for binding in controls.bindings)
        assert "drop" not in labels
        tab.page.keyboard.press("q")  # the world's drop means nothing here
        tab.page.wait_for_timeout(300)
        assert tab.page.inner_text("#n-step") == "1"
        assert all(map(np.array_equal, seen, expect))
        tab.page.click("#share")
        tab.page.wait_for_selector("#share-words:not(:empty)")
        link = tab.page.input_value("#link").replace(url, own_url)
    with Tab(browser, link) as visitor:
        visitor.page.wait_for_selector("#status:has-text('the last frame is the recorded one')")
        assert np.array_equal(visitor.seen(), seen[-1])


@pytest.mark.parametrize(("width", "shown"), [(390, False), (1280, True)])
def test_keys_look_like_keys_where_there_is_a_keyboard(browser, width, shown):  # noqa: F811
    with (
        served_in_a_thread(make_lobby(**SETTINGS)) as (url, _),
        Tab(browser, url, viewport={"width": width, "height": HEIGHT}) as tab,
    ):
        caps = tab.page.locator("#pad button[aria-label=left] kbd")
        assert caps.all_text_contents() == ["A", "←"]
        assert [cap.is_visible() for cap in caps.all()] == [shown, shown]
