"""The rules of the house, read off the sources: who may import whom, and what nobody may do."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ["world_model", "nfd_env", "agents", "benchmarks"]  # each may import those before it
SOURCES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))
LONGEST = 400

# A world model must not know games, agents or screens.
FORBIDDEN = {
    "world_model": {"stable_baselines3", "pygame", "vizdoom", "ale_py", "crafter", "matplotlib"},
    "nfd_env": {"vizdoom", "ale_py", "crafter"},
}
# Of Gymnasium, the world model knows spaces (and how vector envs batch them), no envs.
GYMNASIUM_PARTS = ("gymnasium.spaces", "gymnasium.vector.utils")
PICKLING = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
# Loaders that unpickle what they read.
UNPICKLERS = {"torch", "PPO", "A2C", "DQN", "SAC", "BaseAlgorithm", "VecNormalize"}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports_of(tree: ast.AST, package: list[str]) -> Iterator[str]:
    """Dotted names imported anywhere in a module, whatever way the import is written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{stem}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func
            name = getattr(function, "attr", getattr(function, "id", ""))
            if name in ("import_module", "__import__"):
                yield str(node.args[0].value)


def wrong_imports(source: str, layer: str, package: list[str]) -> list[str]:
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    banned = above | FORBIDDEN.get(layer, set())
    wrong = []
    for name in imports_of(ast.parse(source), package):
        if name.partition(".")[0] in banned:
            wrong.append(name)
        if layer == "world_model" and name.partition(".")[0] == "gymnasium":
            wrong += [] if name.startswith(GYMNASIUM_PARTS) else [name]
    return wrong


def pickling(source: str) -> list[str]:
    tree = ast.parse(source)
    found = [name for name in imports_of(tree, []) if name.partition(".")[0] in PICKLING]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            owner, attribute = node.func.value.id, node.func.attr
            if attribute == "load" and owner in UNPICKLERS:
                found.append(f"{owner}.load")
            if (owner, attribute) == ("torch", "save"):
                found.append("torch.save")
        for keyword in node.keywords:
            if keyword.arg == "allow_pickle" and getattr(keyword.value, "value", True) is not False:
                found.append("allow_pickle")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_point_down(path: Path) -> None:
    parts = path.relative_to(ROOT).parts
    assert wrong_imports(path.read_text(), parts[0], list(parts[:-1])) == []


@pytest.mark.parametrize(
    ("layer", "source"),
    [
        ("world_model", "import nfd_env"),
        ("world_model", "from nfd_env.env import NFDWorldEnv"),
        ("world_model", "def f():\n    import stable_baselines3.ppo"),
        ("world_model", "import gymnasium"),
        ("world_model", "from importlib import import_module\nimport_module('agents.demo')"),
        ("nfd_env", "from agents import demo"),
        ("agents", "import benchmarks.speed as speed"),
    ],
)
def test_upward_imports_are_seen(layer: str, source: str) -> None:
    assert wrong_imports(source, layer, [layer])


def test_downward_imports_are_allowed() -> None:
    source = "import world_model.world\nfrom gymnasium import spaces\nfrom . import x"
    assert wrong_imports(source, "world_model", ["world_model"]) == []


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_nothing_is_pickled(path: Path) -> None:
    assert pickling(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from cloudpickle import dumps",
        "import torch\ntorch.load('x', weights_only=True)",
        "import torch\ntorch.save({}, 'x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "PPO.load('x')",
    ],
)
def test_pickling_is_seen(source: str) -> None:
    assert pickling(source)


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST, "split it: one idea a file"


def test_every_folder_of_code_is_a_package() -> None:
    """A folder without ``__init__.py`` works in the source tree and is missing in the wheel."""
    folders = {path.parent for path in SOURCES}
    assert [relative(f) for f in sorted(folders) if not (f / "__init__.py").is_file()] == []


@pytest.mark.parametrize("layer", LAYERS)
def test_packages_are_typed(layer: str) -> None:
    assert (ROOT / layer / "py.typed").is_file()


def modules_after(statement: str) -> set[str]:
    """Top-level modules loaded by ``statement`` in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_import_nfd_env_is_light() -> None:
    heavy = {"stable_baselines3", "datasets", "matplotlib", "vizdoom", "pygame", "pandas", "av"}
    loaded = modules_after("import nfd_env")
    assert "nfd_env" in loaded
    assert loaded & heavy == set()


def test_import_world_model_loads_nothing_heavy() -> None:
    loaded = modules_after("import world_model")
    assert loaded & {"torch", "numpy", "gymnasium"} == set()


def test_world_model_names_load_on_use() -> None:
    import world_model

    assert world_model.ActionSpec.__module__ == "world_model.action_spec"
    assert set(world_model.__all__) <= set(dir(world_model))
    with pytest.raises(AttributeError, match="no attribute 'Wrld'"):
        _ = world_model.Wrld
