"""How long it takes until an environment is there, measured in fresh processes."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import json, sys, time
times = {}
def lap(name, started):
    times[name] = time.perf_counter() - started
t = time.perf_counter(); import torch; lap("import_torch", t)
t = time.perf_counter(); import nfd_env; lap("import_nfd_env", t)
import gymnasium
t = time.perf_counter(); env = gymnasium.make("NFD-World-v0", world=sys.argv[1]); lap("gym_make", t)
t = time.perf_counter(); env.reset(seed=0); lap("first_reset", t)
t = time.perf_counter(); env.step(env.action_space.sample()); lap("first_step", t)
print(json.dumps(times))
"""


def measure_start_up(world: str, repeats: int = 3) -> dict[str, float]:
    """Seconds of each stage, the best of ``repeats`` processes: the files are in memory then.

    Raises:
        RuntimeError: if the environment cannot be made.
    """
    best: dict[str, float] = {}
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, world], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"the environment could not be made: {done.stderr.strip()[-500:]}")
        for name, seconds in json.loads(done.stdout.splitlines()[-1]).items():
            best[name] = min(seconds, best.get(name, seconds))
    return best
