"""Other projects' world models, built from a clone that the user gives, ready to be timed.

Nothing of theirs lives here: their own classes are imported from the clone and built with the
settings of its own configuration files, at 64 x 64 pixels and three actions, with random weights,
which take the same time as trained ones. Packages that their code imports but that no step needs
(loggers, emulators) are replaced by empty stand-ins, so that nothing has to be installed for them.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import torch
import yaml

from world_model.errors import NFDError

SIZE, ACTIONS = 64, 3

Step = Callable[[], Any]
"""One imagined step of all streams, with everything that an agent would need."""


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports what is not installed as empty modules that answer to every name.

    Args:
        names: top-level packages that may be missing.
    """

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Called last, when nobody else has found the module."""
        if fullname.partition(".")[0] not in self.names:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """A module whose every attribute is a stand-in too."""
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda name: MagicMock(name=name)  # type: ignore[method-assign]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run."""


def diamond(clone: Path, streams: int, compiled: bool = False) -> Step:
    """DIAMOND's ``WorldModelEnv`` (Alonso et al. 2024) as its default configuration has it.

    Compiled, its two predictions are, as in its trainer.

    Raises:
        NFDError: if the clone lacks a file, or its classes have other arguments by now.
    """
    _need(clone, "src/envs/world_model_env.py", "config/agent/default.yaml", "config/trainer.yaml")
    _import_from(clone / "src", packages=("envs",))
    from envs.world_model_env import WorldModelEnv, WorldModelEnvConfig
    from models.diffusion import (
        Denoiser,
        DenoiserConfig,
        DiffusionSamplerConfig,
        InnerModelConfig,
    )
    from models.rew_end_model import RewEndModel, RewEndModelConfig

    agent = _settings(clone / "config/agent/default.yaml")
    sampler = _settings(clone / "config/trainer.yaml")["world_model_env"]["diffusion_sampler"]
    inner = _plain(agent["denoiser"].pop("inner_model"))
    ends = {**_plain(agent["rew_end_model"]), "img_channels": 3, "img_size": SIZE}
    denoiser = Denoiser(
        DenoiserConfig(
            inner_model=InnerModelConfig(**inner, num_actions=ACTIONS), **_plain(agent["denoiser"])
        )
    ).eval()
    model = RewEndModel(RewEndModelConfig(**ends, num_actions=ACTIONS)).eval()
    length = int(inner["num_steps_conditioning"])

    class Loader:
        batch_sampler = SimpleNamespace(batch_size=streams)

        def __iter__(self) -> Any:
            while True:
                yield SimpleNamespace(
                    obs=torch.rand(streams, length, 3, SIZE, SIZE) * 2 - 1,
                    act=torch.randint(ACTIONS, (streams, length)),
                )

    sampling = DiffusionSamplerConfig(
        num_steps_denoising=int(sampler["num_steps_denoising"]), order=int(sampler["order"])
    )
    env = WorldModelEnv(denoiser, model, Loader(), WorldModelEnvConfig(10**9, 2, sampling))
    if compiled:
        env.predict_next_obs = torch.compile(env.predict_next_obs)
        env.predict_rew_end = torch.compile(env.predict_rew_end)
    predict = env.predict_rew_end

    def never_end(frame: Any) -> Any:  # untrained, it would end half of the episodes every step
        reward, end = predict(frame)
        return reward, torch.zeros_like(end)

    env.predict_rew_end = never_end
    env.reset()
    return lambda: env.step(torch.randint(ACTIONS, (streams,)))


def dreamerv3(clone: Path, streams: int, compiled: bool = False) -> Step:
    """DreamerV3's imagination with decoded pixels, in the PyTorch port dreamerv3-torch.

    Compiled, the whole step is.

    Raises:
        NFDError: if the clone lacks a file, or its classes have other arguments by now.
    """
    _need(clone, "models.py", "networks.py", "configs.yaml")
    _import_from(clone)
    import models
    from gymnasium import spaces

    settings = _settings(clone / "configs.yaml")["defaults"]
    config = SimpleNamespace(**{**settings, "device": "cpu", "num_actions": ACTIONS})
    config.model_lr, config.opt_eps = float(config.model_lr), float(config.opt_eps)
    image = spaces.Dict({"image": spaces.Box(0, 255, (SIZE, SIZE, 3))})
    world = models.WorldModel(image, spaces.Discrete(ACTIONS), 0, config).eval()
    state = world.dynamics.initial(streams)
    actions = torch.eye(ACTIONS)

    @torch.no_grad()
    def step() -> Any:
        nonlocal state
        chosen = actions[torch.randint(ACTIONS, (streams,))]
        state = world.dynamics.img_step(state, chosen)
        features = world.dynamics.get_feat(state)
        frame = world.heads["decoder"](features[:, None])["image"].mode()
        reward = world.heads["reward"](features).mode()
        goes_on = world.heads["cont"](features).mean
        return frame, reward, goes_on

    return torch.compile(step) if compiled else step


def nfd(
    world: str,
    streams: int,
    sampling_steps: int | None = None,
    compiled: bool = False,
    precision: str = "float32",
) -> Step:
    """Our own environment, whole steps through Gymnasium."""
    import gymnasium as gym

    import nfd_env  # noqa: F401 - registers the ids

    settings: dict[str, Any] = {
        "world": world,
        "device": "cpu",
        "endless": True,
        "sampling_steps": sampling_steps,
        "speculation": "off",
        "compile": compiled,
        "precision": precision,
    }
    env: Any = (
        gym.make("NFD-World-v0", **settings)
        if streams == 1
        else gym.make_vec("NFD-World-v0", num_envs=streams, **settings)
    )
    env.reset(seed=0)
    return lambda: env.step(env.action_space.sample())


PEERS: dict[str, Callable[[Path, int, bool], Step]] = {"diamond": diamond, "dreamerv3": dreamerv3}


def _need(clone: Path, *files: str) -> None:
    missing = [file for file in files if not (clone / file).is_file()]
    if missing:
        raise NFDError(f"{clone} lacks {', '.join(missing)}: it is no clone of that project.")


def _import_from(folder: Path, packages: Sequence[str] = ()) -> None:
    """Makes a clone importable; ``packages`` are entered without running their ``__init__``."""
    sys.path.insert(0, str(folder))
    wanted = {name for file in folder.rglob("*.py") for name in _imported_by(file)}
    sys.meta_path.append(StandIns({name for name in wanted if not _installed(name)}))
    for name in packages:
        package = types.ModuleType(name)
        package.__path__ = [str(folder / name)]
        sys.modules[name] = package


def _imported_by(file: Path) -> set[str]:
    """Top-level packages that a source file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(errors="replace"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _settings(file: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(file.read_text()))


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without where their class lives, and without references to other files."""
    return {
        key: value
        for key, value in settings.items()
        if not key.startswith("_") and not (isinstance(value, str) and value.startswith("${"))
    }
