"""Denoising steps and action modes, chosen in a real browser; skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

pytest.importorskip("aiohttp")
pytest.importorskip("playwright")

from nfd_env.controls import Controls
from nfd_env.env import NFDWorldEnv
from nfd_env.web.limits import Limits
from tests.nfd_env.web.serving import make_lobby, served_in_a_thread
from tests.nfd_env.web.test_browser import Tab, browser  # noqa: F401
from tests.world_model.tiny import minecraft_world, tiny_world
from world_model.action_spec import ActionSpec
from world_model.rollout import Rollout

pytestmark = pytest.mark.slow
FOCUS = "document.activeElement.id"


@pytest.fixture(scope="module")
def server():
    lobby = make_lobby(minecraft_world(), Limits(visitors=20), endless=True)
    with served_in_a_thread(lobby) as (url, _):
        yield url


def expected(walk, mode=None):
    """Frames of the environment: (key, denoising steps) for every step."""
    options = {"endless": True, "speculation": "off", "action_mode": mode}
    env = NFDWorldEnv(minecraft_world(), **options)
    controls = Controls(env.core.adapter)
    frames = [env.reset(seed=3)[0]]
    for key, sampling in walk:
        other = NFDWorldEnv(minecraft_world(), sampling_steps=sampling, **options)
        other.restore_state(env.save_state())
        frames.append(other.step(controls.action([key]))[0])
        env = other
    return frames


def new_start(tab, mode, click):
    before = tab.page.get_attribute("body", "data-shown")
    tab.page.click("#new")
    tab.page.fill("#seed", "")
    tab.page.select_option("#mode", mode)
    tab.page.click(click)
    tab.page.wait_for_selector(f"body:not([data-shown='{before}'])")


def link_of(tab):
    tab.page.click("#share")
    tab.page.wait_for_selector("#share-words:not(:empty)")
    link = tab.page.input_value("#link")
    tab.page.keyboard.press("Escape")
    return link


def test_denoising_steps_are_changed_while_playing_and_links_keep_them(browser, server):  # noqa: F811
    with Tab(browser, server) as tab:
        assert tab.page.input_value("#sampling") == "2"
        seen = [tab.start(3), tab.press("w")]
        assert "denoising" not in tab.page.inner_text("#caption")
        tab.page.select_option("#sampling", "1")
        tab.page.focus("#screen")
        seen.append(tab.press("w"))
        assert tab.page.inner_text("#caption").endswith(", 1 denoising step")
        tab.page.reload()  # the choice stays
        tab.page.wait_for_selector("body[data-shown]")
        assert tab.page.input_value("#sampling") == "1"
        assert tab.page.inner_text("#caption").endswith(", 1 denoising step")
        tab.page.focus("#screen")
        seen.append(tab.press("a"))
        expect = expected([("w", 2), ("w", 1), ("a", 1)])
        assert all(map(np.array_equal, seen, expect))
        link = link_of(tab)
    with Tab(browser, link) as visitor:
        visitor.page.wait_for_selector("#status:has-text('the last frame is the recorded one')")
        assert np.array_equal(visitor.seen(), seen[-1])


def test_a_mode_is_chosen_for_a_new_start_and_travels_in_links(browser, server):  # noqa: F811
    with Tab(browser, server) as tab:
        first = tab.start(3)
        tab.press("w")
        assert tab.page.inner_text("#mode-now") == "minerl, the world's own"
        assert tab.page.locator("#pad button[aria-label=drop]").count() == 1
        new_start(tab, "discrete", "#same")
        assert tab.page.inner_text("#mode-now") == "discrete"
        assert tab.page.locator("#pad button[aria-label=drop]").count() == 0
        seen = [tab.seen(), tab.press("w")]
        assert np.array_equal(first, seen[0])
        assert all(map(np.array_equal, seen, expected([("w", 2)], "discrete")))
        tab.page.click("#new")
        assert tab.page.input_value("#mode") == "discrete"  # a new start keeps it
        tab.page.keyboard.press("Escape")
        link = link_of(tab)
        tab.page.click("#branches button.go:has-text('Start 2')")  # a line in the other mode
        tab.page.wait_for_selector("#pad button[aria-label=drop]", state="attached")
        assert tab.page.inner_text("#mode-now") == "minerl, the world's own"
    with Tab(browser, link) as visitor:
        visitor.page.wait_for_selector("#status:has-text('the last frame is the recorded one')")
        assert visitor.page.inner_text("#mode-now") == "discrete"
        assert np.array_equal(visitor.seen(), seen[-1])


def test_all_of_it_by_keyboard(browser, server):  # noqa: F811
    with Tab(browser, server) as tab:
        tab.start(3)
        order = tab.page.locator(":is(button, select, input)").evaluate_all(
            "all => all.filter((e) => e.checkVisibility()).map((e) => e.id).filter((id) => id)"
        )
        wanted = ["play", "speed", "new", "share", "scrub", "sampling"]
        assert [name for name in order if name in wanted] == wanted
        tab.page.focus("#sampling")
        assert tab.page.get_by_label("denoising steps a frame").get_attribute("id") == "sampling"
        moment = tab.page.inner_text("#n-step")
        tab.page.keyboard.press("ArrowUp")
        tab.page.keyboard.press("w")  # neither moves the world
        assert tab.page.input_value("#sampling") == "1"
        assert tab.page.inner_text("#n-step") == moment
        # Arrows in the list of actions start nothing: a button does.
        tab.page.focus("#new")
        tab.page.keyboard.press("Enter")
        tab.page.get_by_role("combobox", name="actions").focus()
        assert tab.page.evaluate(FOCUS) == "mode"
        lines = tab.page.locator("#branches .branch").count()
        tab.page.keyboard.press("ArrowDown")
        tab.page.wait_for_timeout(300)
        assert tab.page.locator("#branches .branch").count() == lines
        mode = tab.page.input_value("#mode")
        tab.page.keyboard.press("Tab")
        assert tab.page.evaluate(FOCUS) == "same"
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_selector(f"#mode-now:has-text('{mode}')")
        assert tab.page.evaluate(FOCUS) == "screen"


def test_a_seed_and_enter_begin(browser, server):  # noqa: F811
    with Tab(browser, server) as tab:
        tab.press("w")
        before = tab.page.get_attribute("body", "data-shown")
        tab.page.click("#new")
        assert tab.page.inner_text("#random") == "Anywhere"
        tab.page.fill("#seed", "3")
        assert tab.page.inner_text("#random") == "With this seed"
        tab.page.press("#seed", "Enter")
        tab.page.wait_for_selector(f"body:not([data-shown='{before}'])")
        assert np.array_equal(tab.seen(), expected([])[0])


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_what_is_chosen_fits(browser, server, width):  # noqa: F811
    with Tab(browser, server, viewport={"width": width, "height": 844}) as tab:
        for shown in ("#sampling", "#mode-row"):
            box = tab.page.locator(shown).bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
        tab.page.click("#new")
        for shown in ("#random", "#seed", "#mode", "#same"):
            box = tab.page.locator(shown).bounding_box()
            assert box["height"] >= 40
            assert box["x"] + box["width"] <= width
        top = [tab.page.locator(f"#{name}").bounding_box()["y"] for name in ("random", "seed")]
        assert width < 390 or top[0] == pytest.approx(top[1], abs=2)


def test_a_world_without_choices_shows_none_and_unnamed_actions_are_words(browser, monkeypatch):  # noqa: F811
    world = tiny_world(spec=ActionSpec.from_space(spaces.Discrete(4)))
    monkeypatch.setattr(Rollout, "with_sampling_steps", property())  # as in rollouts of other kinds
    with served_in_a_thread(make_lobby(world)) as (url, _), Tab(browser, url) as tab:
        assert not tab.page.locator("#settings").is_visible()
        words = tab.page.locator("#pad .word").all_inner_texts()
        assert words == ["Action 1", "Action 2", "Action 3"]
        assert "(“Action 0”)" in tab.page.inner_text("#help")
        before = tab.seen()
        assert not np.array_equal(tab.press("1"), before)
        tab.page.click("#new")
        assert not tab.page.locator("#modes").is_visible()
