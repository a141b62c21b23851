"""``nfd film``: a video of an imagined world, of any length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from agents.arena import find_policies, load_world
from agents.environments import real_environment, source_of
from agents.filming.picture import Layout
from agents.filming.shots import (
    Choose,
    Shot,
    by_policy,
    by_script,
    imagined_shots,
    path_shots,
    played_shots,
    recorded_shots,
)
from nfd_env.action_adapter import find_adapter, spec_of
from nfd_env.action_script import load_script
from nfd_env.path_file import load_path
from nfd_env.play.dream import Dream
from world_model.errors import ConfigError
from world_model.progress import LoggedProgress
from world_model.provenance import Provenance
from world_model.video import recording

DEFAULT_STEPS = 300
WIDTH = 320
"""Frames are enlarged to about so many pixels."""


@dataclass(frozen=True)
class FilmOptions:
    """Films an imagined world: under a policy, a script of actions, or along a saved path."""

    world: Annotated[str, tyro.conf.Positional] = "doom-take-cover"
    """Name, folder or hub id of a world, or module:function that makes one."""
    out: Path = Path("film.mp4")
    """The video."""
    policy: str | None = None
    """Who plays: a scripted policy (`uniform`, `sweep-20`, `sticky-80`, the name of an action), or
    the name or folder of a trained one (default: uniform)."""
    actions: Path | None = None
    """Instead of a policy: a file of actions, a line each, such as `left,10` (see docs/play.md)."""
    path: Path | None = None
    """Instead of both: a path that was saved while playing."""
    beside: str | None = None
    """Show real frames beside the imagined ones: `real` lets the policy play the game that the
    world was learned from; the folder of a data set shows recorded episodes, whose actions count
    instead of a policy's."""
    steps: int | None = None
    """Pictures of the film (default: 300; with a script or a path, all of it)."""
    seed: int = 0
    """Of the first episode and of the policy."""
    ends: bool = False
    """Let episodes end as the world has it, and go on with the next; by default the first one
    never ends."""
    action_mode: str | None = None
    """The actions of the policy or the script, where the world offers others than its own, such as
    `discrete` in Minecraft."""
    contexts: str = "bundled"
    """Where episodes start: see the environment's argument."""
    sampling_steps: int | None = None
    """Denoising steps per frame (default: the world's own)."""
    compile: bool = False
    """Compile the world's passes: a minute or so, then frames cost two thirds. Needs a C++ compiler
    on a CPU."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Of the transformer's matrix products; auto is the faster on this hardware. A path shows the
    very same frames where it is as it was."""
    scale: int | None = None
    """Enlargement, a whole number (default: about 320 pixels wide)."""
    fps: float | None = None
    """Pictures per second (default: the world's own)."""
    captions: bool = True
    """Write names, steps and actions around the frames."""
    mark: bool = False
    """Write `imagined` into the corner of every imagined frame."""
    device: str = "auto"
    """auto, cpu or cuda."""
    settings: Annotated[dict[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """Further arguments of the environment, from code."""


def run(options: FilmOptions, console: Console, world: Any = None) -> int:
    """Writes the film; returns its number of pictures.

    Raises:
        NFDError: if something is missing or does not fit, before anything is written.
    """
    _check(options)
    path = None if options.path is None else load_path(options.path)
    world = load_world(options.world, options.device) if world is None else world
    config = world.config
    if path is not None:
        path.check(world.model_id, world.action_spec)
    dream = Dream(
        world,
        endless=options.beside is not None or not options.ends,
        contexts=options.contexts if path is None else path.contexts,
        sampling_steps=options.sampling_steps,
        compile=options.compile or None,
        precision=None if options.precision == "float32" else options.precision,
        device=options.device,
        **options.settings,
    )
    with closing(dream):
        seed, player = options.seed, "recorded actions"
        whole = path is not None or options.actions is not None
        if path is not None:
            seed, player = path.seed, "a saved path"
            shots = path_shots(dream, path)
            length: int | None = len(path) + 1
        else:
            player, length, shots = _played(options, dream)
        if options.steps is not None or not whole:
            length = min(options.steps or DEFAULT_STEPS, length or 1 << 62)
        layout = Layout(
            world.action_spec,
            f"{config.name}@{config.version}",
            options.scale or max(1, round(WIDTH / config.frame_shape[1])),
            options.captions,
            options.mark,
        )
        said = Provenance(
            world.model_id, seed, length, player, with_real=options.beside is not None
        )
        count = _write(options, console, layout, islice(shots, length), length, said, config.fps)
    console.print(f"{options.out}: {count:,} pictures, {count / (options.fps or config.fps):.1f} s")
    return count


def _played(options: FilmOptions, dream: Dream) -> tuple[str, int | None, Iterator[Shot]]:
    """Who plays, how many pictures that gives if it is known, and the film itself."""
    adapter, length = find_adapter(dream.world, options.action_mode), None
    make_choose: Callable[[int], Choose]
    if options.beside is not None and options.beside != "real":
        from world_model.data.store import open_store_for

        store = open_store_for(options.beside, dream.world.config.frame_shape)
        return "recorded actions", None, recorded_shots(dream, store, options.seed)
    if options.actions is not None:
        spec = spec_of(adapter)
        script = load_script(options.actions, spec)
        steps = [(adapter.encode(spec.decode(vector)), count) for vector, count in script]
        length = 1 + sum(count for _, count in steps)
        player, make_choose = options.actions.name, by_script(steps)
    else:
        (policy,) = find_policies([options.policy or "uniform"], spec_of(adapter))
        player, make_choose = policy.name, by_policy(policy, adapter)
    if options.beside == "real":
        make_real = real_environment(source_of(dream.world))
        return player, length, played_shots(dream, make_real, make_choose, options.seed)
    return player, length, imagined_shots(dream, make_choose, options.seed)


def _write(
    options: FilmOptions,
    console: Console,
    layout: Layout,
    shots: Iterator[Shot],
    length: int | None,
    said: Provenance,
    fps: float,
) -> int:
    first = next(shots)  # what does not fit is known before the file is begun
    with (
        recording(options.out, options.fps or fps, scale=1, provenance=said) as film,
        LoggedProgress(console=console, transient=True) as progress,
    ):
        task = progress.add_task("filming", total=length)
        film.add(layout.draw(first))
        try:
            for shot in shots:
                film.add(layout.draw(shot))
                progress.update(task, completed=film.frames)
        except KeyboardInterrupt:
            console.print("interrupted: the film ends here")
        return film.frames


def _check(options: FilmOptions) -> None:
    chosen = [f"--{n}" for n in ("policy", "actions", "path") if getattr(options, n) is not None]
    if len(chosen) > 1:
        raise ConfigError(f"{' and '.join(chosen)} both say what to do: give one of them.")
    if options.path is not None and options.beside is not None:
        raise ConfigError("--path starts in an imagined world: there is nothing real --beside it.")
    if options.beside not in (None, "real") and chosen:
        raise ConfigError(
            f"--beside {options.beside} shows recorded actions, {chosen[0]} asks for others. Let "
            "it play the real game with --beside real."
        )
    if options.action_mode is not None and (
        options.path is not None or options.beside not in (None, "real")
    ):
        raise ConfigError(
            f"--action-mode {options.action_mode} is for a policy or a script: what was recorded "
            "is in the world's own actions."
        )
    if options.out.suffix.lower() != ".mp4":
        raise ConfigError(f"--out {options.out}: films are mp4 files; give a name with .mp4.")
    if options.out.is_dir():
        raise ConfigError(f"--out {options.out} is a folder: give the name of a file in it.")
    for name, low in (("steps", 1), ("seed", 0), ("scale", 1), ("sampling_steps", 1)):
        value = getattr(options, name)
        if value is not None and value < low:
            raise ConfigError(f"--{name.replace('_', '-')} {value}: expected at least {low}.")
    if options.fps is not None and not 0.1 <= options.fps <= 240:
        raise ConfigError(f"--fps {options.fps}: expected a number from 0.1 to 240.")


def main(argv: list[str]) -> int:
    """Entry point of ``nfd film``."""
    run(tyro.cli(FilmOptions, args=argv, prog="nfd film"), Console())
    return 0
