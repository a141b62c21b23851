"""``nfd play``: what is wrong is said in one line, before a window opens."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from nfd_env.cli.main import main

pytest.importorskip("pygame")
TOY = "tests.toy:ToyWorld"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-world"], "no world 'no-such-world'"),
        ([TOY, "--policy", "jump"], "'jump' is neither"),
        ([TOY, "--fps", "0"], "--fps 0.0"),
        ([TOY, "--seed", "-1"], "--seed -1"),
        ([TOY, "--sampling-steps", "0"], "--sampling-steps 0"),
        ([TOY, "--contexts", "nowhere"], "names no start"),
    ],
)
def test_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", *arguments]) == 1
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("nfd: ") <= 2  # one of them may tell the number of threads


def test_a_window_opens_and_closes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from nfd_env.play.window import PlayWindow

    played = []

    def loop(self: PlayWindow) -> None:
        for _ in range(3):
            played.append(self.session.tick(["a"]))

    monkeypatch.setattr(PlayWindow, "loop", loop)
    assert main(["play", TOY, "--out", str(tmp_path), "--endless", "--policy", "left"]) == 0
    assert played == [True] * 3


def test_the_window_imagines_in_the_precision_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from nfd_env.play.window import PlayWindow

    found = []

    def loop(self: PlayWindow) -> None:
        rollout = self.session.dream.env.core.rollout
        network = getattr(rollout, "rollout", rollout).network
        found.append(network.embed.weight.dtype)

    monkeypatch.setattr(PlayWindow, "loop", loop)
    world = "tests.world_model.tiny:tiny_world"
    assert main(["play", world, "--out", str(tmp_path), "--precision", "bfloat16"]) == 0
    assert found == [torch.bfloat16]


def test_without_pygame_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    assert main(["play", TOY]) == 1
    assert 'pip install "nfd-world[play]"' in capsys.readouterr().err


def test_without_a_display_the_browser_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import pygame

    monkeypatch.delenv("SDL_VIDEODRIVER")
    monkeypatch.setattr(pygame.display, "get_driver", lambda: "offscreen")
    assert main(["play", TOY]) == 1
    assert "nfd play --web" in capsys.readouterr().err
