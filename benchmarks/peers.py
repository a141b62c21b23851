"""``nfd bench peers``: an imagined step of ours beside one of other projects, in the same run.

Each model runs in a process of its own with equally many threads; they take turns, so that a busy
moment of the machine hits them alike. What is compiled, or computed in bfloat16, is so in all of
them. The others come from clones that you give::

    nfd bench peers --diamond ../diamond --dreamerv3 ../dreamerv3-torch
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.progress import counting
from benchmarks.results import machine_line, write_benchmark
from nfd_env.loading import load_world
from world_model.errors import NFDError

OURS = "nfd"


@dataclass(frozen=True)
class PeerOptions:
    """Times an imagined step of this project and of others."""

    world: str = "doom-take-cover"
    """Our world: a name, a folder or a hub id."""
    diamond: Path | None = None
    """Clone of github.com/eloialonso/diamond."""
    dreamerv3: Path | None = None
    """Clone of github.com/NM512/dreamerv3-torch."""
    streams: tuple[int, ...] = (1, 16)
    """Numbers of streams that are imagined side by side."""
    sampling_steps: int | None = None
    """Denoising steps of ours (default: the world's own)."""
    threads: int = 1
    """CPU threads of each process."""
    compile: bool = False
    """Compile ours and theirs, theirs as their own training does. Takes minutes."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products: ours as the environment has it, theirs by autocast."""
    seconds: float = 6.0
    """Measuring time of each model and number of streams, in all."""
    rounds: int = 4
    """Turns in which it is spent."""
    out: Path = Path("runs/bench/peers.json")
    """File for the results."""


class Worker:
    """One model in a process of its own.

    Raises:
        NFDError: if it cannot be built.
    """

    def __init__(self, name: str, source: str, streams: int, options: PeerOptions) -> None:
        self.name, self.streams = name, streams
        threads = str(options.threads)
        asked = {
            "name": name,
            "source": source,
            "streams": streams,
            "sampling_steps": options.sampling_steps,
            "compiled": options.compile,
            "precision": options.precision,
        }
        command = [sys.executable, "-m", "benchmarks.peers", json.dumps(asked)]
        root = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        # A pipe that nobody reads would fill up.
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": path},
        )
        self.run(0.0)  # built, and warm

    def run(self, seconds: float) -> list[float]:
        """Seconds of each step, for about so many seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{seconds}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = self._process.stdout.readline()
        if not answer:
            self._process.wait()
            self._said.seek(0)
            lines = self._said.read().strip().splitlines()
            raise NFDError(f"{self.name} could not be timed: {lines[-1] if lines else 'it died'}.")
        return list(json.loads(answer))

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._said.close()


def run(options: PeerOptions, console: Console) -> dict[str, Any]:
    """Measures, writes ``options.out``, prints the table, and returns the results.

    Raises:
        NFDError: if no peer is given, or one cannot be built from its clone.
    """
    started = time.perf_counter()
    given = {"diamond": options.diamond, "dreamerv3": options.dreamerv3}
    sources = {OURS: options.world}
    sources.update({name: str(path.resolve()) for name, path in given.items() if path})
    if len(sources) == 1:
        raise NFDError("give the clone of at least one peer: --diamond PATH or --dreamerv3 PATH.")
    world = load_world(options.world, "cpu")
    rows = []
    turns = len(sources) * len(options.streams) * options.rounds
    with counting(console, "measuring", turns) as tell:
        for streams in options.streams:
            workers: list[Worker] = []
            times: dict[str, list[float]] = {name: [] for name in sources}
            try:
                for name, at in sources.items():
                    workers.append(Worker(name, at, streams, options))
                for _, worker in itertools.product(range(options.rounds), workers):
                    times[worker.name] += worker.run(options.seconds / options.rounds)
                    tell(1)
            finally:
                for worker in workers:
                    worker.close()
            ours = float(np.median(times[OURS]))
            for name, taken in times.items():
                median = float(np.median(taken))
                rows.append(
                    {
                        "model": name,
                        "streams": streams,
                        "ms": 1e3 * median,
                        "ms_p95": 1e3 * float(np.quantile(taken, 0.95)),
                        "frames_per_second": streams / median,
                        "ours_is_faster_by": median / ours,
                        "measured_steps": len(taken),
                    }
                )
    document = write_benchmark(
        options.out,
        "peers",
        world=world.model_id,
        settings={
            k: str(v) if isinstance(v, Path) else v
            for k, v in asdict(options).items()
            if k not in ("world", "out", "diamond", "dreamerv3")
        },
        results={
            "sampling_steps": options.sampling_steps or int(world.config.sampling_steps),
            "threads": options.threads,
            "revisions": {name: revision(path) for name, path in given.items() if path},
            "rows": rows,
        },
        seconds=time.perf_counter() - started,
    )
    console.print(table(document["results"], document["world"]))
    console.print(
        f"{options.threads} CPU thread(s) each, {options.precision}"
        f"{', compiled' if options.compile else ''}. {machine_line()}\n"
        f"{document['seconds']:.0f} s; results: {options.out}"
    )
    return document


def table(results: dict[str, Any], title: str) -> Table:
    """One row for each model and number of streams."""
    made = Table(
        title=f"{title} ({results['sampling_steps']} sampling steps) and others, 64 x 64 pixels",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for column in ("model", "streams", "p50, ms", "p95, ms", "frames/s", "ours is faster by"):
        made.add_column(column, justify="left" if column == "model" else "right")
    for row in results["rows"]:
        ratio = "" if row["model"] == OURS else f"{row['ours_is_faster_by']:.2f} x"
        made.add_row(
            row["model"],
            str(row["streams"]),
            f"{row['ms']:.1f}",
            f"{row['ms_p95']:.1f}",
            f"{row['frames_per_second']:.1f}",
            ratio,
        )
    return made


def revision(clone: Path) -> str | None:
    """The commit that a clone is at; None where git does not know."""
    command = ["git", "-C", str(clone), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def main(argv: list[str]) -> int:
    """Entry point of ``nfd bench peers``."""
    run(tyro.cli(PeerOptions, args=argv, prog="nfd bench peers"), Console())
    return 0


def serve(
    name: str,
    source: str,
    streams: int,
    sampling_steps: int | None,
    compiled: bool,
    precision: str,
) -> None:
    """What a worker does: answers every number of seconds with the times of its steps."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a peer prints is not an answer
    from benchmarks.peer_models import PEERS, nfd

    half = name != OURS and precision == "bfloat16"
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        if name == OURS:
            step = nfd(source, streams, sampling_steps, compiled, precision)
        else:
            step = PEERS[name](Path(source), streams, compiled)
        for _ in range(8 if compiled else 3):
            step()
        for line in sys.stdin:
            end = time.perf_counter() + float(line)
            taken: list[float] = []
            while not taken or time.perf_counter() < end:
                started = time.perf_counter()
                step()
                taken.append(time.perf_counter() - started)
            print(json.dumps(taken), file=answers, flush=True)


if __name__ == "__main__":
    serve(**json.loads(sys.argv[1]))
