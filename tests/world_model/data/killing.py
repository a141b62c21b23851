"""A process that writes a data set, and is killed in the midst of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def kill_after_two_shards(script: Path, root: Path, repository: Path) -> None:
    """Runs the script, and kills it with all its processes once two shards are in ``root``."""
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(repository)},
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while len(list(root.glob("data/*/file-*.parquet"))) < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (root / "meta/info.json").exists()
