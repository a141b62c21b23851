"""A report as one HTML file that needs nothing beside it: pictures and film are inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from agents.evaluation import Evaluation
from agents.statistics import format_number
from world_model.storage import atomic_file

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #22252e; --faint: #667085;
  --line: #e3e5ea; --mark: #eef3fd; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181f; --ink: #e6e8ee;
  --faint: #98a0b3; --line: #2c303b; --mark: #1e2636; } }
* { box-sizing: border-box; }
body { background: var(--paper); color: var(--ink); margin: 0 auto; max-width: 800px;
  padding: 40px 20px 80px; font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 28px; line-height: 1.25; margin: 0 0 6px; }
h2 { font-size: 20px; margin: 44px 0 10px; }
p { margin: 10px 0; max-width: 68ch; }
.lead { font-size: 18px; }
.faint, figcaption { color: var(--faint); font-size: 14px; }
figure { margin: 16px 0; }
img, video { display: block; max-width: 100%; height: auto; border-radius: 6px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 10px; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { font-size: 13px; color: var(--faint); font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
tr.mark td { background: var(--mark); font-weight: 600; }
code { font: 14px ui-monospace, monospace; background: var(--mark); padding: 1px 5px;
  border-radius: 4px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; font-size: 14px; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
"""


def heading(text: str) -> str:
    """A section's title."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, kind: str = "") -> str:
    """Plain text, escaped; ``kind`` is ``lead`` or ``faint``."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def picture(light: bytes, dark: bytes, alternative: str, caption: str = "") -> str:
    """A plot in two themes; the browser shows the one that fits."""
    return (
        "<figure><picture>"
        f'<source media="(prefers-color-scheme: dark)" srcset="{_data("image/png", dark)}">'
        f'<img alt="{escape(alternative)}" src="{_data("image/png", light)}">'
        f"</picture>{_caption(caption)}</figure>"
    )


def film(path: Path, caption: str = "") -> str:
    """An MP4 file, embedded."""
    source = _data("video/mp4", path.read_bytes())
    return (
        f'<figure><video controls loop muted autoplay playsinline src="{source}"></video>'
        f"{_caption(caption)}</figure>"
    )


def returns_table(
    evaluations: Sequence[Evaluation], unit: str, marked: Sequence[Evaluation] = ()
) -> str:
    """One row per policy; those in ``marked`` stand out."""
    head = ("policy", f"mean {unit}", "95 % interval", "± std", "episodes", "mean steps", "cut off")
    rows = []
    for evaluation in evaluations:
        mean = evaluation.interval
        cells = (
            escape(evaluation.policy),
            format_number(mean.estimate),
            f"{format_number(mean.low)} – {format_number(mean.high)}" if mean.known else "none",
            format_number(float(evaluation.returns.std())),
            str(len(evaluation.returns)),
            f"{evaluation.lengths.mean():.0f}",
            str(int((~evaluation.terminated).sum())),
        )
        mark = ' class="mark"' if any(evaluation is one for one in marked) else ""
        rows.append(f"<tr{mark}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    header = "".join(f"<th>{escape(title)}</th>" for title in head)
    return (
        f'<div class="scroll"><table><thead><tr>{header}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Names and values, small."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f"<dl>{items}</dl>"


def write_page(path: Path, title: str, parts: Sequence[str]) -> None:
    """Writes the page.

    Raises:
        StorageError: if the disk is full or the folder cannot be written.
    """
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{''.join(parts)}</body></html>\n"
    )
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _caption(text: str) -> str:
    return f"<figcaption>{escape(text)}</figcaption>" if text else ""
