"""Entry point of ``nfd``: finds the command, sets the threads, turns errors into one line.

Only the standard library and this package load before a command is known, so that ``nfd --help``
is instant.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from world_model.errors import NFDError


@dataclass(frozen=True)
class Command:
    """One subcommand of ``nfd``."""

    module: str
    """Where ``main(argv: list[str]) -> int`` lives, as a dotted name that loads lazily."""
    summary: str
    """One line for ``nfd --help``."""
    computes: bool = True
    """Whether it runs torch, and so cares about the number of threads."""


COMMANDS = {
    "collect": Command("agents.collecting.command", "record episodes of a real environment"),
    "import": Command(
        "world_model.data.importing.command", "make a data set of recordings: VPT, MineRL", False
    ),
    "export": Command(
        "world_model.data.exporting.command",
        "write a data set for LeRobot, Minari, or as video",
        False,
    ),
    "train": Command("world_model.training.command", "train a world on recorded episodes"),
    "tokenizer": Command(
        "world_model.training.tokenizer_command", "train an autoencoder, for frames above 128 px"
    ),
    "distill": Command("world_model.training.distill", "make a world sample in few steps"),
    "agent": Command("agents.command", "train an agent in imagination, evaluate it for real"),
    "evaluate": Command("benchmarks.evaluate", "measure how faithful a world is"),
    "bench": Command("benchmarks.bench", "measure how fast a world is"),
    "play": Command("agents.play_command", "play an imagined world: in a window or a browser"),
    "film": Command("agents.filming.command", "film an imagined world, for any length"),
    "provenance": Command(
        "nfd_env.cli.provenance", "say which world imagined a video or an image", False
    ),
    "worlds": Command("nfd_env.cli.worlds", "list the bundled worlds, or show one's card", False),
    "demo": Command("agents.demo", "the whole loop in minutes on the bundled world"),
}

EXTRAS = {
    "vizdoom": "doom",
    "ale_py": "atari",
    "crafter": "crafter",
    "pygame": "play",
    "aiohttp": "web",
    "matplotlib": "report",
}
"""Optional packages, and the extra of nfd-world that brings each."""


class UsageError(NFDError):
    """The command line itself is wrong; exit code 2, as argparse has it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``nfd`` with the given arguments (default: those of the process).

    Returns:
        The exit code: 0 on success, 1 for an error that a message explains, 2 for wrong usage,
        130 when interrupted. ``NFD_DEBUG=1`` lets errors through with their traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debugging = os.environ.get("NFD_DEBUG", "") not in ("", "0")
    try:
        return _dispatch(arguments)
    except KeyboardInterrupt:
        print("\nnfd: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output left (`nfd worlds | head`). Give the interpreter's last flush
        # somewhere to go, or it complains on the way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except NFDError as error:
        if debugging:
            raise
        print(f"nfd: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None or debugging:
            raise
        print(
            f"nfd: this needs {error.name}, which is not installed: "
            f'pip install "nfd-world[{extra}]"',
            file=sys.stderr,
        )
        return 1


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"nfd-world {version('nfd-world')}")
        return 0
    threads, arguments = _take_threads(arguments)
    if not arguments:
        raise UsageError("no command given. See `nfd --help`.")
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(close)}?" if close else "See `nfd --help`."
        raise UsageError(f"unknown command {name!r}. {hint}")
    command = COMMANDS[name]
    if command.computes:
        asks_for_help = "-h" in rest or "--help" in rest
        _set_threads(threads, quiet=asks_for_help)
    sys.argv[0] = f"nfd {name}"  # what the command's own --help calls itself
    result = import_module(command.module).main(rest)
    return int(result or 0)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: nfd COMMAND [options]     (nfd COMMAND --help lists the options)",
            "",
            *lines,
            "",
            "options of every command:",
            "  --threads N   CPU threads of torch (default 1, or NFD_THREADS, or OMP_NUM_THREADS)",
            "  --version     print the version",
            "",
            "NFD_DEBUG=1 shows the traceback of an error.",
        ]
    )


def _take_threads(arguments: list[str]) -> tuple[int | None, list[str]]:
    """Splits ``--threads N`` or ``--threads=N`` off, wherever it stands; the last one counts."""
    value = os.environ.get("NFD_THREADS") or None
    rest: list[str] = []
    pending = iter(arguments)
    for argument in pending:
        if argument == "--threads":
            value = next(pending, "")
        elif argument.startswith("--threads="):
            value = argument.partition("=")[2]
        else:
            rest.append(argument)
    if value is None:
        return None, rest
    if not value.isdecimal() or int(value) < 1:
        raise UsageError(f"--threads {value!r} is not a number of threads: give 1 or more.")
    return int(value), rest


def _set_threads(threads: int | None, *, quiet: bool) -> None:
    """Fixes the CPU threads before torch loads, which reads OMP_NUM_THREADS only then.

    One thread is the default because a world's frames are small: more threads spend their time
    waiting for each other, and results stay the same from run to run.
    """
    if threads is None and os.environ.get("OMP_NUM_THREADS"):
        return
    threads = threads or 1
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    if not quiet:
        plural = "thread" if threads == 1 else "threads"
        note = f"nfd: torch on {threads} CPU {plural} (--threads N for another number)"
        print(note, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
