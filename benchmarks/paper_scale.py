"""How fast the paper's three sizes imagine: a frame's latents, without and with the decoder.

Random weights take the same time as trained ones. Each figure is one imagined frame after another,
each depending on the one before, at a full attention window: noise, the context's clean pass folded
into the first denoising pass, and the remaining passes. Three ways to run it: ``eager``; ``graph``,
the same kernels replayed as a CUDA graph; ``compiled``, blocks compiled first, then a graph.

While an action repeats, joint speculation makes several frames in one go; ``at_once`` times that.
With the decoder ``kl16`` every frame also becomes pixels on the GPU: 384x224, uint8.

Results are written after every configuration; the same command goes on where it stopped.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from gymnasium import spaces
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.latent_streams import LatentStreams
from benchmarks.results import machine_line, write_benchmark
from world_model.action_spec import ActionSpec
from world_model.autoencoder.config import AutoencoderConfig
from world_model.autoencoder.tokenizer import AutoencoderTokenizer
from world_model.flow import FlowConfig
from world_model.kv_cache import store
from world_model.network import NetworkConfig, NextFrameDiffusion
from world_model.presets import get_preset

MODES = ("eager", "graph", "compiled")
DECODERS = ("none", "kl16")
KEY = ("mode", "preset", "steps", "batch", "at_once", "decoder", "device", "dtype")
"""What tells one row from another."""


@dataclass(frozen=True)
class PaperScaleOptions:
    """Times imagination at the paper's sizes, with random weights."""

    presets: tuple[str, ...] = ("nfd-130m", "nfd-310m", "nfd-774m")
    """Sizes."""
    steps: tuple[int, ...] = (1, 4)
    """Numbers of sampling steps."""
    batches: tuple[int, ...] = (1, 16, 64)
    """Numbers of streams."""
    at_once: tuple[int, ...] = (1, 4)
    """Frames in one go, as joint speculation makes them (more than 1: for one stream only)."""
    decoders: tuple[str, ...] = DECODERS
    """``none``: latents alone; ``kl16``: with the decoder of the paper's autoencoder."""
    modes: tuple[str, ...] = MODES
    """Ways to run: eager, graph, compiled (the last two need a GPU)."""
    frames: int = 20
    """Frames per measurement."""
    repeats: int = 7
    """Measurements, of which the median counts."""
    minutes: float = 8.5
    """Begins no further configuration after so much time."""
    device: str = "auto"
    """auto, cpu or cuda."""
    dtype: str = "bfloat16"
    """Of the weights and matrix products: bfloat16 or float32."""
    out: Path = Path("runs/bench/paper-scale.json")
    """File for the results; configurations that it has are not measured again."""


def run(options: PaperScaleOptions, console: Console) -> dict[str, Any]:
    """Measures what ``options.out`` does not have yet; returns everything that it has then."""
    started = time.perf_counter()
    device = torch.device(_find_device(options.device))
    rows = _read(options.out)
    done = {_key(row) for row in rows}
    document: dict[str, Any] = {}
    wanted = itertools.product(
        options.modes,
        options.presets,
        options.steps,
        options.batches,
        options.at_once,
        options.decoders,
    )
    for way in wanted:
        mode, preset, steps, batch, at_once, decoder = way
        if at_once > 1 and batch > 1:
            continue  # a batch has no arithmetic to spare
        if (*way, device.type, options.dtype) in done:
            continue
        if time.perf_counter() - started > options.minutes * 60:
            console.print("Time is up. The same command goes on from here.")
            break
        config, flow = get_preset(preset).network, get_preset(preset).flow
        figures = measure(config, flow, mode, batch, steps, options, device, at_once, decoder)
        described = dict(zip(KEY, (*way, device.type, options.dtype), strict=True))
        rows.append({**described, **figures})
        document = _write(options, rows, time.perf_counter() - started)
    document = document or _write(options, rows, time.perf_counter() - started)
    console.print(table(rows))
    console.print(f"{machine_line()}\nresults: {options.out}")
    return document


def measure(
    config: NetworkConfig,
    flow: FlowConfig,
    mode: str,
    batch: int,
    steps: int,
    options: PaperScaleOptions,
    device: torch.device,
    at_once: int = 1,
    decoder: str = "none",
) -> dict[str, Any]:
    """Milliseconds per frame of one configuration (median and range), or why there are none."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    spec = ActionSpec.from_space(spaces.Discrete(3))
    torch.manual_seed(0)
    with torch.device(device):
        network = NextFrameDiffusion(config, spec)
    network = network.in_precision(getattr(torch, options.dtype)).to(device).eval()
    parameters = sum(p.numel() for p in network.parameters())
    tokenizer: AutoencoderTokenizer | None = None
    if decoder == "kl16":
        tokenizer = papers_tokenizer(config, device, network.embed.weight.dtype)
        parameters += sum(p.numel() for p in tokenizer.decoder.parameters())
        if mode == "compiled":
            tokenizer.decoder.compile(dynamic=False)
    pixels = None if tokenizer is None else tokenizer.decode
    try:
        streams = LatentStreams(network, batch, steps, flow, at_once, pixels)
        advance = _prepare(streams, mode, device)
        goes = _time(advance, max(1, options.frames // at_once), options.repeats, device)
        times = [milliseconds / at_once for milliseconds in goes]
    except (RuntimeError, ValueError) as error:
        # One way to run that does not work must not cost the others.
        return {"parameters": parameters, "failed": str(error).splitlines()[0][:200]}
    finally:
        torch.compiler.reset()
    p50 = sorted(times)[len(times) // 2]
    return {
        "parameters": parameters,
        "ms_per_frame": {
            "estimate": p50,
            "low": min(times),
            "high": max(times),
            "confidence": None,
        },
        "frames_per_second": batch * 1e3 / p50,
        "memory_gb": torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else None,
    }


def papers_tokenizer(
    config: NetworkConfig, device: torch.device, dtype: torch.dtype
) -> AutoencoderTokenizer:
    """The KL-16 autoencoder with random weights, for tokens that the network takes."""
    default = AutoencoderConfig()
    (rows, columns), side = config.grid, default.token_side
    with torch.device(device):
        tokenizer = AutoencoderTokenizer(
            replace(default, frame_shape=(rows * side, columns * side, 3))
        )
    tokenizer.decoder.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return tokenizer.eval()


def table(rows: list[dict[str, Any]]) -> Table:
    """One row per configuration."""
    result = Table(title="imagined frames", title_justify="left", box=SIMPLE_HEAD)
    for column in (
        "size",
        "steps",
        "streams",
        "at once",
        "decoder",
        "how",
        "ms a frame",
        "frames/s",
        "GB",
    ):
        result.add_column(
            column, justify="left" if column in ("size", "decoder", "how") else "right"
        )
    order = ("preset", "decoder", "steps", "batch", "at_once", "mode")
    for row in sorted(rows, key=lambda r: tuple(r[name] for name in order)):
        figures = [row.get("failed", ""), "", ""]
        if "ms_per_frame" in row:
            memory = row["memory_gb"]
            figures = [
                f"{row['ms_per_frame']['estimate']:.2f}",
                f"{row['frames_per_second']:.0f}",
                "-" if memory is None else f"{memory:.1f}",
            ]
        numbers = (str(row[name]) for name in ("steps", "batch", "at_once", "decoder"))
        result.add_row(row["preset"], *numbers, row["mode"], *figures)
    return result


def _prepare(streams: LatentStreams, mode: str, device: torch.device) -> Callable[[], None]:
    """What advances the streams by one frame, warmed up."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is none of {', '.join(MODES)}.")
    if mode != "eager" and device.type != "cuda":
        raise ValueError(f"mode {mode} needs a GPU")
    if mode == "compiled":
        for block in streams.network.blocks:
            for name in ("qkv_of", "finish"):
                setattr(block, name, torch.compile(getattr(block, name), dynamic=False))
        streams.cache.store = torch.compile(store, dynamic=False)
        streams.draw = torch.compile(streams.draw, dynamic=False)
    for _ in range(3):
        streams.advance()
    if mode == "eager":
        return streams.advance
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # the allocator must have met every size before the capture
        for _ in range(3):
            streams.advance()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        streams.advance()
    return graph.replay


def _time(
    advance: Callable[[], None], frames: int, repeats: int, device: torch.device
) -> list[float]:
    """Milliseconds per frame of each repeat."""
    synchronise = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    times = []
    for _ in range(repeats + 1):
        synchronise()
        started = time.perf_counter()
        for _ in range(frames):
            advance()
        synchronise()
        times.append((time.perf_counter() - started) * 1e3 / frames)
    return times[1:]


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(path.read_text())["results"]["rows"]
        return [{"at_once": 1, "decoder": "none", **row} for row in rows]
    except (OSError, ValueError, KeyError):
        return []


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def _write(
    options: PaperScaleOptions, rows: list[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    settings = {k: v for k, v in asdict(options).items() if k != "out"}
    return write_benchmark(
        options.out,
        "paper-scale",
        world=None,
        settings=settings,
        results={"rows": rows},
        seconds=seconds,
    )


def _find_device(name: str) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``nfd bench paper`` and ``python -m benchmarks.paper_scale``."""
    run(tyro.cli(PaperScaleOptions, args=argv, prog="nfd bench paper"), Console())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
