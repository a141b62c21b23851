"""Tasks shared among processes: results come back as they are ready, and nobody is left behind.

What a task yields must not depend on who does it, nor on what was done before: then the number of
processes does not change the result.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from world_model import errors
from world_model.errors import NFDError

Progress = Callable[[int], None]
"""Told now and then how much more was done."""
Worker = Callable[[int, Progress], Any]
"""Does the task of a number, and returns what the parent needs to know of it."""
OpenWorker = Callable[[], AbstractContextManager[Worker]]
"""Sets a worker up, once for each process."""


def run_tasks(
    open_worker: OpenWorker,
    tasks: Iterable[int],
    *,
    processes: int,
    progress: Progress,
    doing: str,
) -> Iterator[tuple[int, Any]]:
    """Does ``tasks``, and yields each with its result, in the order in which they are ready.

    Few tasks are begun before they are asked for, so ``tasks`` may be endless: whoever has had
    enough closes the generator (``contextlib.closing``), which ends the processes.

    Args:
        open_worker: sets a worker up; picklable if ``processes`` > 1.
        tasks: numbers of the tasks.
        processes: number of processes; 1 works in this one, one task after the other.
        progress: called in this process with what the workers report.
        doing: what the processes do, for errors: ``recording``.

    Raises:
        NFDError: what a worker raised, as the same kind of error if it is one of ours, or that a
            process was killed.
    """
    if processes == 1:
        with open_worker() as work:
            for task in tasks:
                yield task, work(task, progress)
        return
    # Not fork: a forked child dead-locks if the parent has used torch's thread pool.
    context = multiprocessing.get_context("spawn")
    inbox, outbox = context.Queue(), context.Queue()
    workers = [
        context.Process(target=_serve, args=(open_worker, inbox, outbox, os.getpid()), daemon=True)
        for _ in range(processes)
    ]
    pending, waiting = iter(tasks), 0
    try:
        for worker in workers:
            worker.start()
        for _, task in zip(workers, pending, strict=False):
            inbox.put(task)
            waiting += 1
        while waiting:
            try:
                kind, *content = outbox.get(timeout=1.0)
            except queue.Empty:
                if any(worker.exitcode is not None for worker in workers):
                    raise NFDError(
                        f"a {doing} process ended unexpectedly. What was written so far is kept; "
                        "run the same command again to go on."
                    ) from None
                continue
            if kind == "progress":
                progress(content[0])
            elif kind == "error":
                name, text = content
                raise getattr(errors, name, NFDError)(text)
            else:
                # Keep few tasks ahead of what is asked for, so that little is thrown away.
                waiting -= 1
                for task in pending:
                    inbox.put(task)
                    waiting += 1
                    break
                yield content[0], content[1]
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
        for worker in workers:
            if worker.pid is not None:
                worker.join(timeout=10)


def _serve(open_worker: OpenWorker, inbox: Any, outbox: Any, parent: int) -> None:
    """Main loop of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    # Leave by an exception, so that what the worker holds (a game's own process) is closed too.
    signal.signal(signal.SIGTERM, _leave)

    def progress(amount: int) -> None:
        outbox.put(("progress", amount))
        if os.getppid() != parent:  # the parent was killed: nobody waits for the rest
            raise SystemExit(1)

    try:
        with open_worker() as work:
            while True:
                try:
                    task = inbox.get(timeout=1.0)
                except queue.Empty:
                    if os.getppid() != parent:
                        return
                    continue
                outbox.put(("done", task, work(task, progress)))
    except Exception as error:
        name = type(error).__name__
        text = str(error) if isinstance(error, NFDError) else f"{name}: {error}"
        outbox.put(("error", name, text))
        time.sleep(0.5)  # let the queue's thread send it before the process ends


def _leave(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)
