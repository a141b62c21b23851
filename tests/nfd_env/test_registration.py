from __future__ import annotations

import importlib
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium as gym
import pytest

import nfd_env


def in_fresh_process(code: str) -> str:
    root = Path(nfd_env.__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    return result.stdout.strip()


def test_import_is_light():
    """No torch, no agents' library, no games, and little that Gymnasium has not loaded itself."""
    code = (
        "import sys, gymnasium; before = set(sys.modules); import nfd_env;"
        "print(*sorted(m for m in set(sys.modules) - before))"
    )
    loaded = in_fresh_process(code).split()
    assert loaded == ["nfd_env"]


def test_a_first_step_does_without_the_compiler():
    """Importing it takes longer than all the rest."""
    code = (
        "import sys, gymnasium, nfd_env; env = gymnasium.make('NFD-World-v0', device='cpu');"
        "env.reset(seed=0); env.step(0); print('torch._dynamo' in sys.modules)"
    )
    assert in_fresh_process(code) == "False"


def test_the_id_can_bring_its_import():
    code = (
        "import gymnasium as gym;"
        "print(gym.make('nfd_env:NFD-World-v0', world='tests.toy:ToyWorld').spec.id)"
    )
    assert in_fresh_process(code) == "NFD-World-v0"


def test_reloading_does_not_register_twice():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.reload(nfd_env)
    assert "NFD-World-v0" in gym.registry


def test_spec_is_made_of_strings():
    spec = gym.spec("NFD-World-v0")
    assert isinstance(spec.entry_point, str)
    assert isinstance(spec.vector_entry_point, str)
    # The horizon is kept inside the environment, so that snapshots restore it.
    assert spec.max_episode_steps is None
    assert gym.envs.registration.EnvSpec.from_json(spec.to_json()) == spec


def test_a_misspelt_argument_is_named():
    with pytest.raises(TypeError, match="sampling_step"):
        gym.make("NFD-World-v0", world="tests.toy:ToyWorld", sampling_step=2)
    with pytest.raises(TypeError, match="sampling_step"):
        gym.make_vec("NFD-World-v0", num_envs=2, world="tests.toy:ToyWorld", sampling_step=2)
