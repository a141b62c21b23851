"""A path as a link: whoever opens it sees the same frames.

The link holds the JSON of a saved path (:mod:`nfd_env.path_file`: world with its hash, seed,
actions), compressed. Beside it stand ``check``, the CRC-32 of the last frame's pixels;
``action_mode``, in which it was played, where the world has several; and where it does not start as
the seed says, ``contexts`` is ``clip`` (``clip``: which of the world's) or ``frames`` (``frames``:
raw pixels, base64).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import zlib
from dataclasses import replace
from typing import Any

import numpy as np

from nfd_env.path_file import FORMAT, VERSION, WorldPath
from nfd_env.web.choices import Modes
from nfd_env.web.engine import Engine
from nfd_env.web.limits import MEGABYTE, Limits, RequestError
from nfd_env.web.lobby import SavedLinks
from nfd_env.web.moments import Moment
from nfd_env.web.start import Start

Read = tuple[Start, list[tuple[np.ndarray, int | None]], int | None]
"""The start; of every step the encoded action and its denoising steps; and the CRC-32 of the last
frame, if the link has it."""
LONGEST = 6000
"""Characters that go into an address; longer paths stay on the server, under a short name."""
MOST_BYTES = 4 * MEGABYTE
"""Of a path as JSON."""


class Links:
    """Paths of a world as text, and back.

    Args:
        engine: imagines the world; links of another one are refused.
        modes: the action modes in which paths are played.
        limits: how long a path may be.
    """

    def __init__(self, engine: Engine, modes: Modes, limits: Limits) -> None:
        self.engine, self.world, self.modes, self.limits = engine, engine.world, modes, limits

    def of(self, moments: list[Moment], saved: SavedLinks | None) -> str | None:
        """The link to the last of ``moments``, which begin at a start.

        ``p=...`` holds the path itself, ``s=...`` the name of one that is kept in ``saved``: None
        where it would have to be, and there is no ``saved``.
        """
        start: Start = moments[0].start
        text = deflate(json.dumps(self._document(start, moments), separators=(",", ":")))
        if len(text) <= LONGEST:
            return f"p={text}"
        return None if saved is None else f"s={saved.put(text)}"

    def read(self, link: str, saved: SavedLinks) -> Read:
        """What a link says.

        Raises:
            RequestError: if it is damaged, forgotten, of another world, or asks for an action mode
                or denoising steps that there are not here.
        """
        kind, _, text = link.partition("=")
        if kind == "s":
            kept = saved.get(text)
            if kept is None:
                raise RequestError(
                    "this link was kept in the memory of a server that has forgotten it."
                )
            text = kept
        elif kind != "p":
            raise RequestError("this is no link to a path.")
        try:
            document = json.loads(inflate(text))
            return self._understood(document)
        except (KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
            raise RequestError("the link is damaged: it must be copied as a whole.") from error

    def _document(self, start: Start, moments: list[Moment]) -> dict[str, Any]:
        path = WorldPath(self.world.model_id, start.seed)
        own = self.engine.own_steps
        for moment in moments[1:]:
            sampling = None if moment.sampling == own else moment.sampling
            path.add(np.array(moment.action, np.float32), sampling)
        document: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "world": path.world,
            "seed": path.seed,
            "contexts": "frames" if start.frames else "bundled" if start.clip is None else "clip",
            "actions": [
                {"action": [_short(value) for value in s.action], "steps": s.steps}
                | ({} if s.sampling_steps is None else {"sampling_steps": s.sampling_steps})
                for s in path.actions
            ],
            "check": moments[-1].check,
        }
        if start.frames:
            document["frames"] = [base64.b64encode(frame).decode() for frame in start.frames]
        elif start.clip is not None:
            document["clip"] = start.clip
        if start.mode:
            document["action_mode"] = start.mode
        return document

    def _understood(self, document: dict[str, Any]) -> Read:
        if document["format"] != FORMAT or document["version"] != VERSION:
            raise RequestError(f"this link is of another version; expected {VERSION}.")
        if document["world"] != self.world.model_id:
            raise RequestError(
                f"this link is of the world {str(document['world'])[:80]}; here is "
                f"{self.world.model_id}."
            )
        counts = [_whole(stretch["steps"]) for stretch in document["actions"]]
        if sum(counts) > self.limits.path_steps:
            raise RequestError(
                f"this path has {sum(counts)} steps; at most {self.limits.path_steps} are replayed."
            )
        spec = self.world.action_spec
        rows = [stretch["action"] for stretch in document["actions"]]
        vectors = np.array(rows, np.float32).reshape(-1, spec.dim)
        spec.check(vectors)
        sampling = [self._sampling(stretch) for stretch in document["actions"]]
        start = Start(_whole(document["seed"]), mode=self.modes.find(document.get("action_mode")))
        if document["contexts"] == "clip":
            start = replace(start, clip=_whole(document["clip"]))
        elif document["contexts"] == "frames":
            start = replace(start, frames=self._frames(document["frames"]))
        check = document.get("check")
        stretches = zip(vectors, sampling, counts, strict=True)
        steps = [(vector, number) for vector, number, count in stretches for _ in range(count)]
        return start, steps, None if check is None else int(check)

    def _sampling(self, stretch: dict[str, Any]) -> int | None:
        """Denoising steps of a stretch: the world's own number, unless it says otherwise."""
        number, offered = stretch.get("sampling_steps"), self.engine.offered
        if number is None:
            return self.engine.own_steps
        if _whole(number) not in offered:
            here = f"{', '.join(map(str, offered))} can be chosen" if offered else "none can"
            raise RequestError(f"this link takes {number} denoising steps a frame; here {here}.")
        return int(number)

    def _frames(self, encoded: list[str]) -> tuple[bytes, ...]:
        frames = tuple(base64.b64decode(frame, validate=True) for frame in encoded)
        size = math.prod(self.world.config.frame_shape)
        longest = self.world.config.context_length
        if not 1 <= len(frames) <= longest or any(len(frame) != size for frame in frames):
            raise ValueError("frames")
        return frames


def _short(value: float) -> float:
    """2.0 as 2: fewer characters in JSON."""
    return int(value) if value == int(value) else value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(f"{value!r} is no whole number")
    return value


def deflate(text: str) -> str:
    """Text, compressed to what may stand in the fragment of an address.

    >>> inflate(deflate("left left right" * 100)) == "left left right" * 100
    True
    """
    packed = zlib.compress(text.encode(), 9)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def inflate(packed: str, most: int = MOST_BYTES) -> str:
    """The inverse of :func:`deflate`.

    Raises:
        RequestError: if it is damaged, or longer than ``most`` bytes.
    """
    try:
        raw = base64.b64decode(packed + "=" * (-len(packed) % 4), b"-_", validate=True)
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(raw, most)
        if unpacking.unconsumed_tail or not unpacking.eof:
            raise RequestError("the link is cut off, or too long.")
        return text.decode()
    except (ValueError, binascii.Error, zlib.error) as error:
        raise RequestError("the link is damaged: it must be copied as a whole.") from error
