"""Worlds with a camera in a real browser: a caught mouse, a dragged one, a finger."""

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


def turning_world():
    """Its camera turns by up to 30 degrees a step, and there is a button."""
    camera = spaces.Box(-30, 30, (2,), np.float32)
    return tiny_world(
        spec=ActionSpec.from_space(spaces.Dict({"camera": camera, "jump": spaces.Discrete(2)}))
    )


WORLDS = {
    "degrees": turning_world(),
    "bins": minecraft_world("multidiscrete"),
}


@pytest.fixture(scope="module", params=WORLDS)
def server(request):
    world = WORLDS[request.param]
    with served_in_a_thread(make_lobby(world, **SETTINGS)) as (url, _):
        yield url, world


def expected(world, steps):
    """Frames of an episode under (keys, mouse) at a time; all of them differ."""
    env, controls = NFDWorldEnv(world, speculation="off", **SETTINGS), Controls(world.action_spec)
    frames = [env.reset(seed=3)[0]]
    frames += [env.step(controls.action(keys, mouse))[0] for keys, mouse in steps]
    return frames


def without_turning(world, steps):
    return expected(world, [(keys, (0.0, 0.0)) for keys, _ in steps])


def after(tab, act):
    """What is shown once ``act`` has led to a new frame."""
    before = tab.page.get_attribute("body", "data-shown")
    act()
    tab.page.wait_for_selector(f"body:not([data-shown='{before}'])")
    return tab.seen()


def middle(tab):
    tab.page.evaluate("scrollTo(0, 0)")  # a phone shows the buttons of many actions below
    box = tab.page.locator("#screen").bounding_box()
    return box["x"] + box["width"] // 2, box["y"] + box["height"] // 2


def check(world, steps, seen):
    assert all(map(np.array_equal, seen, expected(world, steps)))
    assert not np.array_equal(seen[-1], without_turning(world, steps)[-1])


def test_a_finger_turns(browser, server):  # noqa: F811
    url, world = server
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with Tab(browser, url, **phone) as tab:
        assert tab.page.locator("#turning").is_visible()
        fingers = tab.context.new_cdp_session(tab.page)

        def touch(kind, *points):
            points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
            fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        def drag():
            x, y = middle(tab)
            touch("touchStart", (x, y))
            for far in (20, 40, 60):
                touch("touchMove", (x + far, y - far // 2))
            touch("touchEnd")

        def tap():
            touch("touchStart", middle(tab))
            touch("touchEnd")

        seen = [tab.start(3), after(tab, drag)]
        tap()  # turns nothing, and takes no step
        seen.append(after(tab, drag))
        assert tab.page.inner_text("#n-step") == "2"
        check(world, [((), (60.0, -30.0))] * 2, seen)


def test_a_mouse_that_cannot_be_caught_drags(browser, server):  # noqa: F811
    url, world = server
    with Tab(browser, url) as tab:
        tab.page.locator("#screen").evaluate("c => { c.requestPointerLock = undefined; }")
        x, y = middle(tab)

        def drag():
            tab.page.mouse.move(x, y)
            tab.page.mouse.down()
            tab.page.mouse.move(x - 50, y + 20, steps=4)
            tab.page.mouse.up()

        seen = [tab.start(3), after(tab, drag)]
        tab.page.mouse.move(x + 90, y + 90)  # nothing is held
        seen.append(tab.press("Space"))
        check(world, [((), (-50.0, 20.0)), (("space",), (0.0, 0.0))], seen)


def test_a_caught_mouse_turns_until_it_is_let_go(browser, server):  # noqa: F811
    url, world = server
    with Tab(browser, url) as tab:
        seen = [tab.start(3)]
        x, y = middle(tab)
        tab.page.mouse.click(x, y)
        try:
            tab.page.wait_for_selector("#screen.caught", timeout=3000)
        except Exception:
            pytest.skip("this browser does not let pages catch the mouse")
        tab.page.mouse.move(x + 40, y + 10, steps=3)
        seen.append(tab.press("Space"))
        seen.append(tab.press("Space"))  # what was moved is spent
        check(world, [(("space",), (40.0, 10.0)), (("space",), (0.0, 0.0))], seen)
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_selector("#status:has-text('playing')")
        tab.page.evaluate("document.exitPointerLock()")  # as Esc does
        tab.page.wait_for_selector("#status:has-text('paused')")
        assert tab.page.locator("#screen.caught").count() == 0
