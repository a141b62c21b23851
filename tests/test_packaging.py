"""What users install: the wheel is complete, and works where the source tree is not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["nfd_env", "agents", "world_model", "benchmarks"]
BUNDLED_WORLD = ROOT / "world_model" / "worlds" / "doom-take-cover" / "config.json"
DATA = ["world_model/worlds", "agents/policies_bundled", "nfd_env/web/static"]


def shipped() -> set[str]:
    """Everything in the source tree that must be in the wheel."""
    files = {path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    files |= {path for folder in DATA for path in (ROOT / folder).rglob("*") if path.is_file()}
    names = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
    return names | {f"{package}/py.typed" for package in PACKAGES}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: a build leaves folders behind in its source tree."""
    source = tmp_path_factory.mktemp("source")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    target = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, source)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that holds the wheel, and sees the libraries of this one.

    The libraries come in by a path file: it adds the folder, but does not act on path files in
    it, so that an editable install of the source tree stays out.
    """
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    (site,) = home.glob("lib/python*/site-packages")
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "libraries.pth").write_text("\n".join(sorted(libraries)) + "\n")
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet"),
        *("--no-deps", "--no-index", wheel),
    )
    return home


def run(*command: str | Path, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_wheel_is_complete(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert shipped() - names == set()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_command_works_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    nfd = installed / "bin" / "nfd"
    assert run(nfd, "--version", cwd=tmp_path) == f"nfd-world {version}\n"
    worlds = run(nfd, "worlds", cwd=tmp_path)
    if BUNDLED_WORLD.is_file():
        assert "doom-take-cover" in worlds


@pytest.mark.slow
@pytest.mark.skipif(
    not BUNDLED_WORLD.is_file(), reason=f"the bundled world is not there yet: no {BUNDLED_WORLD}"
)
def test_environment_works_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = """
import json, gymnasium, nfd_env, world_model
env = gymnasium.make("NFD-World-v0")
first, _ = env.reset(seed=0)
second, reward, terminated, truncated, _ = env.step(1)
env.close()
print(json.dumps([nfd_env.__file__, world_model.__file__, first.shape, second.shape, reward]))
"""
    # -I: neither the working directory nor PYTHONPATH may bring the source tree back.
    output = run(installed / "bin" / "python", "-I", "-c", code, cwd=tmp_path)
    env_file, model_file, first, second, reward = json.loads(output.splitlines()[-1])
    for file in (env_file, model_file):
        assert Path(file).resolve().is_relative_to(installed.resolve())
    assert first == second == json.loads(BUNDLED_WORLD.read_text())["world"]["frame_shape"]
    assert isinstance(reward, float)


def test_large_files_stay_small() -> None:
    """Each file of a bundled world fits any host, and a clone stays quick."""
    sizes = {p: p.stat().st_size for d in DATA for p in (ROOT / d).rglob("*") if p.is_file()}
    assert {path: size for path, size in sizes.items() if size > 16e6} == {}
    assert sum(sizes.values()) < 40e6
