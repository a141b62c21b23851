"""Recordings as other people's recorders write them, made from the published schemas alone.

Nothing here uses the importer. Every frame shows its own number as black and white blocks, and
every action is a function of that number too, so that a shift by one frame cannot go unseen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

BITS = 12
COLUMNS, ROWS = 4, 3
KEYS = {
    "forward": "key.keyboard.w",
    "back": "key.keyboard.s",
    "left": "key.keyboard.a",
    "right": "key.keyboard.d",
    "jump": "key.keyboard.space",
    "sneak": "key.keyboard.left.shift",
    "sprint": "key.keyboard.left.control",
    "drop": "key.keyboard.q",
    "inventory": "key.keyboard.e",
    "swapHands": "key.keyboard.f",
    "ESC": "key.keyboard.escape",
}
MOUSE = {"attack": 0, "use": 1, "pickItem": 2}


def number_frame(number: int, height: int, width: int) -> np.ndarray:
    """A frame that shows ``number`` as 4 x 3 big blocks."""
    bits = np.array([number >> i & 1 for i in range(BITS)], np.uint8).reshape(ROWS, COLUMNS)
    rows = np.arange(height) * ROWS // height
    columns = np.arange(width) * COLUMNS // width
    gray = 20 + 215 * bits[rows][:, columns]
    return np.repeat(gray[..., None], 3, axis=2).astype(np.uint8)


def read_number(frame: np.ndarray) -> int:
    """What :func:`number_frame` was given, from a frame of any size."""
    height, width = frame.shape[:2]
    rows = (2 * np.arange(ROWS) + 1) * height // (2 * ROWS)
    columns = (2 * np.arange(COLUMNS) + 1) * width // (2 * COLUMNS)
    bits = frame[rows][:, columns].mean(axis=2).ravel() > 127
    return int(sum(1 << i for i in range(BITS) if bits[i]))


def write_mp4(path: Path, frames: Iterable[np.ndarray], *, options: dict[str, str] | None = None):
    """H.264 at 20 Hz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=Fraction(20))
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "20", "g": "40"}
        for i, frame in enumerate(frames):
            if i == 0:
                stream.height, stream.width = frame.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def number_video(path: Path, count: int, height: int = 72, width: int = 128, **more: Any) -> None:
    write_mp4(path, (number_frame(i, height, width) for i in range(count)), **more)


def buttons_of(number: int) -> set[str]:
    """The buttons that a player holds at frame ``number``."""
    names = [*KEYS, *MOUSE]
    return {name for i, name in enumerate(names) if (number * 7 + i * i) % 5 == 0}


def mouse_of(number: int) -> tuple[int, int]:
    """Movement (dx, dy) of the mouse at frame ``number``, in pixels."""
    return number * 13 % 301 - 150, number * 29 % 97 - 48


def vpt_line(number: int, **changes: Any) -> dict[str, Any]:
    """One line of a contractor's jsonl; ``changes`` are ``hotbar=1``, or deeper ``mouse__dx=3``."""
    pressed = buttons_of(number)
    dx, dy = mouse_of(number)
    record = {
        "mouse": {
            "x": 640.0 + dx,
            "y": 360.0 + dy,
            "dx": float(dx),
            "dy": float(dy),
            "scaledX": 0.0,
            "scaledY": 0.0,
            "dwheel": 0.0,
            "buttons": sorted(MOUSE[name] for name in pressed if name in MOUSE),
            "newButtons": [],
        },
        "keyboard": {
            "keys": sorted(KEYS[name] for name in pressed if name in KEYS),
            "newKeys": [],
            "chars": "",
        },
        "isGuiOpen": False,
        "isGuiInventory": False,
        "hotbar": 0,
        "yaw": 12.5,
        "pitch": -3.25,
        "xpos": 1.0,
        "ypos": 64.0,
        "zpos": 2.0,
        "tick": number,
        "milli": 1_600_000_000_000 + 50 * number,
        "inventory": [{"type": "oak_log", "quantity": 3}],
        "serverTick": number,
        "serverTickDurationMs": 11.5,
        "stats": {"minecraft.custom:minecraft.jump": number},
    }
    for name, value in changes.items():
        where, _, inner = name.partition("__")
        if inner:
            record[where][inner] = value
        else:
            record[where] = value
    return record


def write_jsonl(path: Path, lines: Iterable[dict[str, Any] | str]) -> None:
    """Lines of JSON; a text is written as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(text + "\n" for text in texts))


def vpt_segment(
    stem: Path,
    count: int,
    changes: dict[int, dict[str, Any] | str] | None = None,
    *,
    lines: int | None = None,
    **video: Any,
) -> None:
    """A segment: video, jsonl, and the options file that lies beside them.

    ``changes`` are those of :func:`vpt_line` by frame, or whole lines.
    """
    changes = changes or {}
    number_video(stem.with_suffix(".mp4"), count, **video)
    records = []
    for i in range(count if lines is None else lines):
        change = changes.get(i, {})
        records.append(change if isinstance(change, str) else vpt_line(i, **change))
    write_jsonl(stem.with_suffix(".jsonl"), records)
    Path(f"{stem}-options.json").write_text('{"fov": 70.0}')


def minerl_stream(
    folder: Path,
    steps: int,
    *,
    leading: int = 0,
    success: bool = True,
    arrays: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    frames: int | None = None,
) -> None:
    """A stream of MineRL 0.3 / 0.4: N rewards and actions, N + 1 states, and a video.

    Frame ``leading + i`` of the video is state i and shows i; those before it show 4000 and on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown = [4000 + i for i in range(leading)] + list(range(steps + 1))
    shown = shown[:frames]
    write_mp4(folder / "recording.mp4", (number_frame(i, 64, 64) for i in shown))
    numbers = range(steps)
    names = ("forward", "back", "left", "right", "jump", "sneak", "sprint", "attack")
    data: dict[str, Any] = {
        f"action${name}": np.array([int(name in buttons_of(i)) for i in numbers]) for name in names
    }
    data["action$camera"] = np.array(
        [[mouse_of(i)[1] * 0.15, mouse_of(i)[0] * 0.15] for i in numbers], np.float32
    ).reshape(steps, 2)
    data["reward"] = np.array([float(i % 5 == 4) for i in numbers], np.float32)
    data["observation$inventory$log"] = np.arange(steps + 1)
    data |= arrays or {}
    np.savez(folder / "rendered.npz", **{k: v for k, v in data.items() if v is not None})
    about = {
        "success": success,
        "duration_ms": steps * 50,
        "duration_steps": steps,
        "total_reward": float(sum(i % 5 == 4 for i in numbers)),
        "stream_name": folder.name,
        "true_video_frame_count": leading + steps + 1,
    }
    about |= metadata or {}
    (folder / "metadata.json").write_text(json.dumps(about))
