"""Pieces of self-contained HTML pages: everything inline, every text escaped."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template

LARGEST_MB = 16
"""A picture or film that is larger is named instead of shown: pages must open on a phone."""
TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".mp4": "video/mp4"}

# Colours of text and of marks keep a contrast of 4.5 and 3 to 1 with the paper behind them.
STYLE = """
:root{color-scheme:light dark;--paper:#fff;--card:#f4f5f8;--ink:#1c2029;--soft:#555c6b;
--line:#d5d9e2;--good:#176b36;--bad:#a8172c;--grey:#727988;
--c0:#1f5fd0;--c1:#b75d0c;--c2:#237a45;--c3:#8b3bab;--c4:#b02a43}
@media (prefers-color-scheme:dark){:root{--paper:#12141c;--card:#1b1e29;--ink:#eceef4;
--soft:#a9b0c0;--line:#363b4b;--good:#6fd393;--bad:#ff8c9a;--grey:#8d94a5;
--c0:#77a7ff;--c1:#f0a35e;--c2:#67c98d;--c3:#cf90ea;--c4:#ff8496}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:70rem;padding:1rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;overflow-wrap:break-word}
h1{font-size:1.7rem;line-height:1.2;margin:.5rem 0}
h2{font-size:1.3rem;margin:1.75rem 0 .5rem;padding-top:.6rem;border-top:1px solid var(--line)}
h3{font-size:1.05rem;margin:1.25rem 0 .4rem}
p,li{max-width:46rem}a{color:var(--c0)}
.soft,figcaption,caption{color:var(--soft);font-size:.9rem}
.grid{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,19rem),1fr))}
.tiles{display:grid;gap:.75rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,13rem),1fr))}
.tile{background:var(--card);border-radius:.5rem;padding:.75rem}
.tile b{display:block;font-size:1.6rem;line-height:1.2}
.tile span{display:block}
.bad::marker{color:var(--bad);content:"\\2717  "}.good::marker{color:var(--good);content:"\\2713  "}
.open::marker{color:var(--soft);content:"?  "}
figure{margin:0;min-width:0}
figure img,figure video{display:block;max-width:100%;height:auto;background:#12141c;
border-radius:.35rem}
figure img.plot{background:#fff}
figure img.strip{max-width:none;width:max(100%,44rem)}
.scroll{overflow-x:auto;max-width:100%}
.scroll:focus-visible,summary:focus-visible,a:focus-visible{outline:2px solid var(--c0)}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:.25rem 0}
th,td{padding:.25rem .7rem .25rem 0;border-bottom:1px solid var(--line);text-align:right;
white-space:nowrap;vertical-align:top}
th:first-child,td:first-child{text-align:left}
thead th{white-space:normal;overflow-wrap:anywhere;vertical-align:bottom}
tbody th{font-weight:400;white-space:normal;min-width:11rem}
td.words{white-space:normal;text-align:left;overflow-wrap:anywhere}
td.best{color:var(--good);font-weight:700}
summary{cursor:pointer;padding:.35rem 0}
code{font:.9em ui-monospace,Menlo,Consolas,monospace}
pre{background:var(--card);padding:.6rem;border-radius:.35rem;white-space:pre-wrap;
overflow-wrap:anywhere}
svg{display:block;width:100%;max-width:34rem;height:auto}
svg text{fill:var(--soft);font-size:11px}svg .title{fill:var(--ink);font-size:12px;font-weight:600}
svg .axis{stroke:var(--line);fill:none}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.1rem .9rem;margin:.2rem 0;padding:0;
font-size:.85rem}.legend svg{display:inline-block;width:1.6rem;vertical-align:middle}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1rem;padding:0}
@media print{details>*{display:block}}
"""

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
img-src data:; media-src data:">
<title>$title</title>
<style>$style</style>
</head>
<body>
$body
</body>
</html>
""")


class Html(str):
    """A string that is markup already; any other one is text and gets escaped."""


def text(value: object) -> Html:
    """Escapes text; leaves markup alone.

    >>> text('<b> & "c"')
    '&lt;b&gt; &amp; &quot;c&quot;'
    """
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def fill(template: str, **values: object) -> Html:
    """Puts values into the ``$names`` of a template, those that are not markup escaped.

    >>> fill("<p>$a $b</p>", a="<", b=Html("<br>"))
    '<p>&lt; <br></p>'
    """
    return Html(Template(template).substitute({k: text(v) for k, v in values.items()}))


def join(parts: Iterable[object]) -> Html:
    """Parts below each other."""
    return Html("\n".join(text(part) for part in parts if part != ""))


def page(title: str, body: Html) -> str:
    """A whole document; its content policy forbids scripts and anything from elsewhere."""
    return _PAGE.substitute(title=text(title), style=STYLE, body=body)


def section(name: str, title: str, *parts: object) -> Html:
    """A section with a heading that ``#name`` leads to."""
    return fill(
        '<section aria-labelledby="$name">\n<h2 id="$name">$title</h2>\n$body\n</section>',
        name=name,
        title=title,
        body=join(parts),
    )


def paragraph(content: object, kind: str = "") -> Html:
    """A paragraph, perhaps of a class of the style."""
    return fill("<p$kind>$content</p>", kind=_class(kind), content=content)


def block(*parts: object) -> Html:
    """Parts that belong together, one cell of a grid."""
    return fill("<div>$it</div>", it=join(parts))


def bullets(items: Sequence[tuple[str, object]]) -> Html:
    """A list of (class, content)."""
    rows = [fill("<li$kind>$item</li>", kind=_class(kind), item=item) for kind, item in items]
    return fill("<ul>$rows</ul>", rows=join(rows)) if rows else Html("")


def details(summary: object, *parts: object) -> Html:
    """What only some readers want: folded away."""
    return fill(
        "<details><summary>$summary</summary>\n$body\n</details>", summary=summary, body=join(parts)
    )


def table(
    header: Sequence[object],
    rows: Sequence[Sequence[object]],
    caption: object = "",
    classes: Sequence[Sequence[str]] | None = None,
) -> Html:
    """A table whose first column names its rows.

    Args:
        header: one heading per column.
        rows: one cell per column.
        caption: what the table shows.
        classes: a class for every cell.
    """
    head = join(fill('<th scope="col">$cell</th>', cell=cell) for cell in header)
    body = []
    for r, row in enumerate(rows):
        cells = [fill('<th scope="row">$cell</th>', cell=row[0])]
        for c, cell in enumerate(row[1:], 1):
            kind = classes[r][c] if classes else ""
            cells.append(fill("<td$kind>$cell</td>", kind=_class(kind), cell=cell))
        body.append(fill("<tr>$cells</tr>", cells=join(cells)))
    return fill(
        '<div class="scroll" tabindex="0" role="group"$label><table>$caption<thead><tr>$head</tr>'
        "</thead>\n<tbody>$body</tbody></table></div>",
        label=fill(' aria-label="$it"', it=caption or "table"),
        caption=fill("<caption>$it</caption>", it=caption) if caption else Html(""),
        head=head,
        body=join(body),
    )


def picture(path: Path, alt: str, caption: object = "", kind: str = "") -> Html:
    """A picture with its caption, inline; a ``strip`` is scrolled where the page is narrow."""
    source = data_uri(path)
    if source is None:
        return _named(path, alt)
    shown = fill('<img src="$source" alt="$alt"$kind>', source=source, alt=alt, kind=_class(kind))
    if kind == "strip":
        shown = fill(
            '<div class="scroll" tabindex="0" role="group" aria-label="strip of frames">$it</div>',
            it=shown,
        )
    return _figure(shown, caption)


def film(path: Path, alt: str, caption: object = "") -> Html:
    """A film with its caption, inline; it plays when asked to, again and again."""
    source = data_uri(path)
    if source is None:
        return _named(path, alt)
    shown = fill(
        '<video controls loop muted playsinline preload="metadata" aria-label="$alt" '
        'src="$source">$alt</video>',
        source=source,
        alt=alt,
    )
    return _figure(shown, caption)


def data_uri(path: Path) -> str | None:
    """A file as a URI that holds it; None where it is missing, too large or of another type."""
    kind = TYPES.get(path.suffix.lower())
    if kind is None or not path.is_file() or path.stat().st_size > LARGEST_MB * 2**20:
        return None
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _figure(shown: Html, caption: object) -> Html:
    below = fill("<figcaption>$it</figcaption>", it=caption) if caption else Html("")
    return fill("<figure>$shown$below</figure>", shown=shown, below=below)


def _named(path: Path, alt: str) -> Html:
    reason = "is too large to show here" if path.is_file() else "is not in the folder"
    return paragraph(f"{alt}: {path.name} {reason}.", "soft")


def _class(kind: str) -> Html:
    return fill(' class="$kind"', kind=kind) if kind else Html("")
