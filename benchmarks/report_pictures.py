"""The films and strips of an evaluation's page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.evaluation_folder import EvaluationFolder
from benchmarks.html_page import Html, block, fill, film, paragraph, picture, section


def pictures_section(folder: EvaluationFolder, steps: str) -> Html:
    """Films and strips of the best, the median and the worst clip, and of counterfactual pairs."""
    shown = folder.results("fidelity", steps).get("pictures", {})
    clips = [_clip(folder.path, clip) for clip in shown.get("clips", [])]
    long = folder.path / f"rollout-{steps}.mp4"
    strip = folder.path / f"clips-{steps}.png"
    others = []
    if long.is_file():
        others.append(
            film(long, "Film of a long rollout: real, imagined, difference",
                 "The rollout that lasts longest, from the start of an episode.")
        )  # fmt: skip
    if strip.is_file():
        others.append(
            picture(strip, "Strips of lively clips: real, imagined and difference, by step",
                    "Clips in which much happens.", "strip")
        )  # fmt: skip
    pairs = [_pair(folder.path, pair) for pair in shown.get("counterfactuals", [])]
    if not (clips or others or pairs):
        return section(f"films-{steps}", "Films", paragraph("None were left: --no-pictures."))
    return section(
        f"films-{steps}",
        f"Films, in {steps} sampling step{'s' if steps != '1' else ''}",
        paragraph(
            "Difference: imagined minus real around grey, doubled. Best, median and worst are "
            "chosen by the mean squared error over all steps; where little moves, little is wrong."
        ),
        *clips,
        *([Html("<h3>More clips</h3>"), *others] if others else []),
        Html("<h3>Same start, same noise, other actions</h3>") if pairs else "",
        paragraph(
            "Each row holds one action all the time. What differs is what the world makes of "
            "the action."
        )
        if pairs
        else "",
        *pairs,
    )


def _clip(root: Path, clip: Mapping[str, Any]) -> Html:
    words = (
        f"The {clip['role']} clip: PSNR {clip['psnr']:.1f} dB over {clip['steps']} steps, with the "
        f"last frame repeated {clip['psnr_repeat_last']:.1f} dB (one clip of {clip['of']}; episode "
        f"{clip['episode']}, from frame {clip['start']} on)"
    )
    return block(
        fill("<h3>$it clip</h3>", it=str(clip["role"]).capitalize()),
        film(
            _inside(root, clip["film"]), f"Film, real, imagined, difference. {words}", words + "."
        ),
        picture(_inside(root, clip["strip"]), f"Strip. {words}", kind="strip"),
    )


def _pair(root: Path, pair: Mapping[str, Any]) -> Html:
    apart = ", ".join(
        f"{part['first']} and {part['second']} {part['difference']:.1f}" for part in pair["apart"]
    )
    words = (
        f"From frame {pair['start']} of episode {pair['episode']}, holding "
        f"{', '.join(pair['actions'])}. Mean difference at step {pair['steps']}, in grey levels: "
        f"{apart} (one start, one noise)."
    )
    return block(
        film(_inside(root, pair["film"]), f"Film of the same start. {words}", words),
        picture(_inside(root, pair["strip"]), f"Strip of the same start. {words}", kind="strip"),
    )


def _inside(root: Path, name: Any) -> Path:
    """The file of that name in the folder; documents may not point elsewhere."""
    return root / Path(str(name)).name
