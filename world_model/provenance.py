"""Says in a file that its pictures were generated, and by which world; and reads that back.

The statement is JSON, where players and viewers keep comments: in the ``comment`` of an mp4, a text
block of a PNG, the image description of a JPEG or WebP. Images also carry the industry's own term
for it, IPTC's digital source type, as XMP. It is a statement, not a proof: whoever wants can remove
it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from world_model.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

GENERATED, COMPOSITE = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"
"""IPTC's terms for pictures that a model generated, and for those beside real ones."""
VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
PNG_KEY = "nfd-provenance"
_TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_DESCRIPTION, _SOFTWARE = 0x010E, 0x0131  # EXIF tags
_LONGEST = 1 << 16  # characters of a statement that is read


@cache
def software() -> str:
    """Name and version of this package."""
    try:
        return f"nfd-world {version('nfd-world')}"
    except PackageNotFoundError:  # run from a folder of sources
        return "nfd-world (unknown version)"


@dataclass(frozen=True)
class Provenance:
    """What is said of a picture or a film."""

    world: str
    """``model_id`` of the world that imagined it: name, version and hash."""
    seed: int | None = None
    """Seed of the episode, where there is one."""
    steps: int | None = None
    """Imagined steps, where they are known before the file is written."""
    player: str = ""
    """Who chose the actions."""
    with_real: bool = False
    """Whether real pictures are beside the generated ones."""
    made_by: str = ""
    """Software and its version; default: this package."""

    @property
    def source_type(self) -> str:
        """IPTC's term."""
        return COMPOSITE if self.with_real else GENERATED

    def to_json(self) -> str:
        """The statement, in ASCII."""
        said: dict[str, Any] = {
            "generated": True,
            "statement": "Frames imagined by a learned world model; not a recording.",
            "world": self.world,
            "software": self.made_by or software(),
            "digital_source_type": _TERMS + self.source_type,
        }
        if self.with_real:
            said["statement"] = "Frames imagined by a learned world model, beside real ones."
        optional = {"seed": self.seed, "steps": self.steps, "player": self.player or None}
        return json.dumps(said | {k: v for k, v in optional.items() if v is not None})

    @classmethod
    def from_json(cls, text: str) -> Provenance | None:
        """Reads a statement; None if ``text`` is none."""
        if len(text) > _LONGEST:
            return None
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(said, dict) or said.get("generated") is not True:
            return None
        if not isinstance(said.get("world"), str) or "digital_source_type" not in said:
            return None
        numbers = {k: said.get(k) for k in ("seed", "steps")}
        return cls(
            world=said["world"],
            player=str(said.get("player", "")),
            with_real=str(said["digital_source_type"]).endswith(COMPOSITE),
            made_by=str(said.get("software", "")),
            **{k: v if isinstance(v, int) else None for k, v in numbers.items()},
        )

    def describe(self) -> str:
        """One line a field, for people; control characters, which a file may hold, left out."""
        rows = [("generated", f"yes ({self.source_type})"), ("world", self.world)]
        rows += [("made by", self.made_by or software())]
        rows += [
            (f.name, str(getattr(self, f.name)))
            for f in fields(self)
            if f.name in ("seed", "steps", "player") and getattr(self, f.name) not in (None, "")
        ]
        lines = (f"{name:<10} {value}" for name, value in rows)
        return "\n".join("".join(c for c in line if c.isprintable()) for line in lines)


def video_tags(provenance: Provenance) -> dict[str, str]:
    """Metadata of a container, for ``container.metadata.update`` before the first frame."""
    return {
        "title": f"imagined by {provenance.world}",
        "comment": provenance.to_json(),
        "encoder": provenance.made_by or software(),
    }


def image_arguments(provenance: Provenance | None, suffix: str) -> dict[str, Any]:
    """Arguments of Pillow's ``save`` that carry the statement.

    Args:
        provenance: the statement, or None for nothing.
        suffix: of the file, such as ``.png``; formats without a place for it get nothing.
    """
    if provenance is None:
        return {}
    suffix = suffix.lower()
    if suffix == ".png":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_text(PNG_KEY, provenance.to_json())
        info.add_text("Software", provenance.made_by or software())
        info.add_itxt("XML:com.adobe.xmp", _xmp(provenance))
        return {"pnginfo": info}
    if suffix in (".jpg", ".jpeg", ".webp"):
        from PIL.Image import Exif

        exif = Exif()
        exif[_DESCRIPTION] = provenance.to_json()
        exif[_SOFTWARE] = provenance.made_by or software()
        return {"exif": exif, "xmp": _xmp(provenance).encode()}
    return {}


def read_provenance(path: str | os.PathLike[str]) -> Provenance | None:
    """What a video or image says of itself; None if it says nothing.

    Raises:
        DataError: if there is no such file, or it is neither a video nor an image.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file} is no file.")
    readers = [_of_image, _of_video]
    if file.suffix.lower() in VIDEOS:
        readers.reverse()
    for reader in readers:
        found = reader(file)
        if found is not None:
            texts = (found.get(key) for key in (PNG_KEY, "comment", "COMMENT", "description"))
            statements = (Provenance.from_json(text) for text in texts if text)
            return next((said for said in statements if said is not None), None)
    raise DataError(f"{file} is neither a video nor an image that can be read.")


def mark(image: Image) -> None:
    """Writes ``imagined`` into the lower right corner of a picture, in place."""
    from PIL import ImageDraw, ImageFont

    size = max(8, min(14, image.height // 12))
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(image, "RGBA")
    text = "imagined" if draw.textlength("imagined", font) < image.width - 6 else "AI"
    left, top, right, bottom = draw.textbbox((0, 0), text, font)
    x, y = image.width - (right - left) - 4, image.height - (bottom - top) - 4
    draw.rectangle((x - 3, y - 3, image.width, image.height), (0, 0, 0, 150))
    draw.text((x - left, y - top), text, (255, 255, 255, 230), font)


def marked(frame: np.ndarray) -> np.ndarray:
    """A copy of uint8 (H, W, 3) with the visible mark."""
    from PIL import Image as Images

    image = Images.fromarray(frame)
    mark(image)
    return np.asarray(image)


def _of_image(file: Path) -> Mapping[str, str] | None:
    from PIL import Image as Images

    try:
        with Images.open(file) as image:
            described = image.getexif().get(_DESCRIPTION)
            texts = {str(k): v for k, v in image.info.items() if isinstance(v, str)}
    except (OSError, ValueError, SyntaxError, Images.DecompressionBombError):
        return None
    return {**texts, **({"description": described} if isinstance(described, str) else {})}


def _of_video(file: Path) -> Mapping[str, str] | None:
    import av

    for form in ("mov", "matroska"):  # left to itself, FFmpeg takes any text for a film
        try:
            with av.open(str(file), format=form, metadata_errors="replace") as container:
                if container.streams.video:
                    return dict(container.metadata)
        except (av.FFmpegError, OSError, ValueError):
            continue
    return None


def _xmp(provenance: Provenance) -> str:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        f'Iptc4xmpExt:DigitalSourceType="{_TERMS}{provenance.source_type}"/></rdf:RDF></x:xmpmeta>'
    )
