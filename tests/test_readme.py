"""The README tells the truth about commands, dependencies and code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from nfd_env.cli.main import COMMANDS, EXTRAS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def package_of(requirement: str) -> str:
    return re.match(r"[\w-]+", requirement).group()


def test_every_command_has_a_row() -> None:
    rows = re.findall(r"^\| `nfd (\w+)` \|", README, re.MULTILINE)
    assert sorted(rows) == sorted(COMMANDS)


def test_every_command_named_exists() -> None:
    assert set(re.findall(r"\bnfd ([a-z]+)", README)) <= set(COMMANDS)


def test_every_dependency_has_a_row() -> None:
    table = README.split("## Dependencies")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([\w-]+)(?: \(`(\w+)`\))? \|", table, re.MULTILINE)[1:]
    core = {(package_of(line), "") for line in PROJECT["dependencies"]}
    extras = {
        (package_of(line), extra)
        for extra, lines in PROJECT["optional-dependencies"].items()
        if extra not in ("dev", "docs")
        for line in lines
    }
    assert set(rows) == core | extras


def test_extras_of_the_command_line_exist() -> None:
    assert set(EXTRAS.values()) <= set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_code_compiles(block: str) -> None:
    compile(block, "README.md", "exec")


@pytest.mark.slow
def test_first_example_runs() -> None:
    world = ROOT / "world_model" / "worlds" / "doom-take-cover" / "config.json"
    if not world.is_file():
        pytest.skip(f"the bundled world is not there yet: no {world}")
    exec(compile(BLOCKS[0], "README.md", "exec"), {})
