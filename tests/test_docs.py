"""The documentation tells the truth: its code runs, and its commands have the options they name."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from nfd_env.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
PAGES = [ROOT / "README.md", *sorted(p for p in DOCS.rglob("*.md") if "_build" not in p.parts)]
FENCE = re.compile(r"^```(python|bash|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NEEDS = {"torchrl.md": "torchrl"}


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of every block of code, in order."""
    return FENCE.findall(page.read_text(encoding="utf-8"))


def commands(page: Path) -> list[list[str]]:
    """Every ``nfd`` command of a page, as words without the leading ``nfd``."""
    found = []
    for language, text in blocks(page):
        if language == "python":
            continue
        for line in re.sub(r"\\\n", " ", text).splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words[:1] == ["nfd"]:
                found.append(words[1:])
    return found


@cache
def help_of(*command: str) -> str:
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
        main([*command, "--help"])
    return re.sub(r"\s+", " ", told.getvalue())


def test_there_is_something_to_check() -> None:
    assert len(TUTORIALS) >= 5
    assert sum(len(commands(page)) for page in PAGES) > 20


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_every_block_of_a_tutorial_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if page.name in NEEDS:
        pytest.importorskip(NEEDS[page.name])
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "tutorial"}
    for number, (language, text) in enumerate(blocks(page)):
        if language == "python":
            exec(compile(text, f"{page.name}, block {number}", "exec"), names)
        elif language == "bash":
            for line in text.strip().splitlines():
                words = shlex.split(line)
                assert words[0] == "nfd", f"{line!r}: commands that are not run belong to console"
                assert not main(words[1:]), line


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_the_options_they_are_given(page: Path) -> None:
    for words in commands(page):
        assert words[0] in COMMANDS, words
        known = help_of(words[0])
        inner = [w for w in words[1:2] if re.search(rf"\b{re.escape(w)}\b", known)]
        if words[0] in ("bench", "import", "export"):
            known += help_of(words[0], *inner)
        if "--web" in words:
            known += help_of(words[0], "--web")
        for word in words[1:]:
            if word.startswith("--") and word != "--help":
                found = re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", known)
                assert found, (page.name, words)


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", text):
            if not re.match(r"\w+:", target):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("furo") is None, reason="needs the extra docs")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(DOCS), str(tmp_path)]
    told = subprocess.run(build, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert "NFDWorldEnv" in (tmp_path / "reference" / "nfd_env.html").read_text()
