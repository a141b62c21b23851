"""The pictures of a film: frames, enlarged, with captions, and the mark that they were imagined."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from agents.filming.shots import Shot
from world_model.action_spec import ActionSpec
from world_model.provenance import mark

GAP, LINE = 4, 20
INK, FAINT, ACCENT, PAPER = (240, 240, 245), (140, 145, 160), (255, 176, 32), (18, 20, 28)


@dataclass(frozen=True)
class Layout:
    """How every picture of a film looks."""

    spec: ActionSpec
    """For the names of actions."""
    world: str
    """Name of the world, for captions."""
    scale: int
    """Every pixel of a frame is shown as a square of this side."""
    captions: bool = True
    """Whether names, steps and actions stand above and below."""
    mark: bool = False
    """Whether ``imagined`` is written into the corner of imagined frames."""

    def draw(self, shot: Shot) -> np.ndarray:
        """The picture, uint8 (H, W, 3) with even sides; all of a film have one size."""
        panels = [shot.imagined] if shot.real is None else [shot.real, shot.imagined]
        height, width = (side * self.scale for side in shot.imagined.shape[:2])
        top = LINE if self.captions else 0
        size = (len(panels) * (width + GAP) - GAP, height + 2 * top)
        canvas = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2), PAPER)
        for column, frame in enumerate(panels):
            large = Image.fromarray(frame).resize((width, height), Image.Resampling.NEAREST)
            if self.mark and column == len(panels) - 1 and not shot.given:
                mark(large)
            canvas.paste(large, (column * (width + GAP), top))
        if self.captions:
            self._write(canvas, shot, width, top + height, len(panels))
        return np.asarray(canvas)

    @cached_property
    def _font(self) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        return ImageFont.load_default(13)

    def _write(self, canvas: Image.Image, shot: Shot, width: int, below: int, panels: int) -> None:
        draw = ImageDraw.Draw(canvas)
        if panels == 2:
            draw.text((3, 2), "real", INK, self._font)
        name = "given: real frames" if shot.given else f"imagined by {self.world}"
        x = (panels - 1) * (width + GAP) + 3
        draw.text((x, 2), name, FAINT if shot.given else ACCENT, self._font)
        # The numbers are imagined, and stand under the imagined frame.
        numbers = f"step {shot.step}"
        if not shot.given and panels * width >= 256:
            numbers += f"   reward {shot.reward:+.2f}"
        long = draw.textlength(numbers, self._font)
        draw.text((canvas.width - 3 - long, below + 2), numbers, INK, self._font)
        many = len(self.spec.groups) > 3  # then only what is not at rest
        what = "" if shot.action is None else self.spec.describe(shot.action, brief=many)
        while what and draw.textlength(what, self._font) > canvas.width - long - 12:
            what = what[:-1]
        draw.text((3, below + 2), what, ACCENT, self._font)
