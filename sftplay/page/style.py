"""The look of a page: light and dark, from 320 pixels up, printable. Everything is in the file;
nothing is fetched.

The colours of the lines are Okabe and Ito's (jfly.uni-koeln.de/color), told apart with any colour
vision, darkened for white and lightened for black paper until each has three times the background's
contrast. Lines differ in their dashes as well.
"""

from __future__ import annotations

LINES_LIGHT = ("#0072b2", "#c2510a", "#00805e", "#a8488a", "#8a6d00", "#3b87b5")
LINES_DARK = ("#56b4e9", "#f2894a", "#2fc49a", "#e08fc3", "#e6c229", "#a7c8dc")
DASHES = ("", "7 3", "2 3", "10 3 2 3", "5 2 1 2", "1 4")


def _colours(colours: tuple[str, ...]) -> str:
    return " ".join(f"--line{number}: {colour};" for number, colour in enumerate(colours))


CSS = f"""
:root {{ color-scheme: light dark; --paper: #ffffff; --ink: #1c2126; --soft: #57606a; --rule: #d5dae0; --well: #f4f6f8;
  --good: #17703f; --bad: #b3261e; --warn: #8a5a00; {_colours(LINES_LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ --paper: #14181c; --ink: #e4e8ec; --soft: #9aa5b1; --rule: #343c45; --well: #1d2329;
  --good: #5fd08f; --bad: #ff8a80; --warn: #f0b95b; {_colours(LINES_DARK)} }} }}
* {{ box-sizing: border-box; }}
html {{ -webkit-text-size-adjust: 100%; }}
body {{ margin: 0 auto; padding: 1.25rem 1rem 4rem; max-width: 70rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.6rem; line-height: 1.2; margin: 0 0 .4rem; }}
h2 {{ font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--rule); }}
h3 {{ font-size: 1rem; margin: 1.4rem 0 .4rem; }}
p {{ margin: .5rem 0; max-width: 48rem; }}
a {{ color: var(--line0); }}
.lead, .note, figcaption small, footer {{ color: var(--soft); }}
nav {{ margin: .8rem 0; }} nav a {{ margin-right: 1rem; display: inline-block; }}
.wide {{ overflow-x: auto; margin: .6rem 0; }}
table {{ border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }}
caption {{ text-align: left; color: var(--soft); padding-bottom: .3rem; }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--rule); }}
th {{ font-weight: 600; }} thead th {{ white-space: nowrap; }}
.wraps th, .wraps td {{ overflow-wrap: anywhere; min-width: 5.5rem; }} .wraps thead th {{ white-space: normal; }}
.number {{ text-align: right; white-space: nowrap; }}
dl.facts {{ display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .2rem 1rem; margin: .6rem 0; font-size: .9rem; }}
dl.facts dt {{ color: var(--soft); }} dl.facts dd {{ margin: 0; min-width: 0; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .6rem; margin: 1rem 0; }}
.tile {{ background: var(--well); border-radius: .5rem; padding: .6rem .8rem; min-width: 0; }}
.tile b {{ display: block; font-size: 1.25rem; line-height: 1.3; }} .tile span, .tile small {{ color: var(--soft); font-size: .85rem; display: block; }}
.side {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: .8rem 1.5rem; align-items: start; }}
.side > * {{ min-width: 0; }}
pre {{ background: var(--well); border-radius: .5rem; padding: .6rem .8rem; margin: .4rem 0; font: .85rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace;
  white-space: pre-wrap; max-height: 24rem; overflow: auto; }}
code {{ font: .88em ui-monospace, "DejaVu Sans Mono", monospace; }}
details {{ margin: .5rem 0; border: 1px solid var(--rule); border-radius: .5rem; padding: .4rem .8rem; }}
summary {{ cursor: pointer; font-weight: 600; }}
.notice {{ border-left: 4px solid var(--warn); background: var(--well); padding: .5rem .8rem; margin: .8rem 0; border-radius: 0 .5rem .5rem 0; }}
.notice.bad {{ border-color: var(--bad); }} .notice.good {{ border-color: var(--good); }} .notice.info {{ border-color: var(--line0); }}
.good {{ color: var(--good); }} .bad {{ color: var(--bad); }} .warn {{ color: var(--warn); }}
.notice, .notice.good, .notice.bad {{ color: var(--ink); }}
figure {{ margin: .8rem 0; min-width: 0; }} figcaption {{ font-weight: 600; font-size: .95rem; margin-bottom: .2rem; }}
figcaption small {{ font-weight: 400; display: block; }}
.legend {{ display: flex; flex-wrap: wrap; gap: .1rem 1rem; font-size: .85rem; padding: 0; margin: .1rem 0; list-style: none; }}
.legend svg {{ width: 2rem; height: .7rem; vertical-align: middle; margin-right: .3rem; }}
svg.chart {{ display: block; width: 100%; height: auto; max-width: 46rem; }}
svg text {{ font: 11px system-ui, "DejaVu Sans", sans-serif; fill: var(--soft); }} svg .ink {{ fill: var(--ink); }}
svg .rule {{ stroke: var(--rule); stroke-width: 1; }} svg .axis {{ stroke: var(--soft); stroke-width: 1; }}
svg .line {{ fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: butt; }} svg .raw {{ fill: none; stroke-width: 1; opacity: .35; }}
svg .spot {{ opacity: 0; stroke: none; }} svg .spot:hover {{ opacity: 1; }}
svg .mark {{ stroke: var(--bad); stroke-width: 1.4; stroke-dasharray: 4 3; }}
{" ".join(f".l{n} {{ stroke: var(--line{n}); }} .f{n} {{ fill: var(--line{n}); }}" for n in range(len(LINES_LIGHT)))}
footer {{ margin-top: 3rem; font-size: .85rem; }}
@media (max-width: 40rem) {{ svg text {{ font-size: 13px; }} body {{ padding-inline: .8rem; }} dl.facts {{ grid-template-columns: 1fr; gap: 0; }} dl.facts dd {{ margin-bottom: .4rem; }} }}
@media print {{ body {{ max-width: none; }} details > * {{ display: block; }} pre {{ max-height: none; }} }}
""".strip()
