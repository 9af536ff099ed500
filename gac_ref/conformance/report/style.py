"""The style sheet of the HTML page: system fonts, light and dark, nothing fetched."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root { color-scheme: light dark;
  --page: #fbfaf8; --card: #ffffff; --ink: #1d2126; --soft: #646c76; --line: #e3e1dc;
  --stripe: #f5f3ef; --good: #1f7a4d; --good-soft: #e6f3ec; --bad: #b3261e; --bad-soft: #fbebe9;
  --warn: #8a5a00; --warn-soft: #fbf1dd; --code: #f4f2ee;
  --fp64: #2b5fa8; --fp32: #0f8a7e; --fp16: #c2750a; --bf16: #8a3fb0; --other: #646c76; }
@media (prefers-color-scheme: dark) { :root {
  --page: #14171b; --card: #1c2026; --ink: #e6e8eb; --soft: #9aa3ae; --line: #2f353d;
  --stripe: #20252c; --good: #6fcf9b; --bad: #ff8a80; --bad-soft: #3a1f1e;
  --warn: #f0bf5f; --warn-soft: #33290f; --code: #262b32; --good-soft: #183024;
  --fp64: #7fb0f5; --fp32: #4fd0c0; --fp16: #f0a94a; --bf16: #cf9bec; --other: #9aa3ae; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 15px; font-weight: 500; color: var(--soft); margin: 0 0 14px; }
h2 { font-size: 18px; font-weight: 650; margin: 40px 0 12px; }
h3 { font-size: 15px; font-weight: 600; margin: 0 0 6px; }
h3.gap { margin: 20px 0 8px; }
.card.gap { margin-top: 12px; }
p { margin: 6px 0; }
code, pre, .number { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono",
  monospace; font-size: 0.9em; }
pre { background: var(--code); border-radius: 6px; padding: 10px 12px; margin: 10px 0 0;
  overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 16px 18px; }
.runs { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); }
.run { border-left: 5px solid var(--good); }
.run.bad { border-left-color: var(--bad); } .run.warn { border-left-color: var(--warn); }
.verdict { font-size: 22px; font-weight: 700; line-height: 1.25; color: var(--good); }
.bad .verdict { color: var(--bad); } .warn .verdict { color: var(--warn); }
.run .headline { margin: 8px 0 0; font-size: 14px; overflow-wrap: anywhere; }
.facts { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 10px 0 0; font-size: 13px; }
.facts b { font-weight: 650; }
.flow { display: flex; flex-wrap: wrap; gap: 6px; margin: 0 0 14px; padding: 0; list-style: none; }
.flow li { padding: 3px 10px; border-radius: 99px; font-size: 12.5px; white-space: nowrap;
  background: var(--good-soft); color: var(--good); }
.flow .failed { background: var(--bad-soft); color: var(--bad); }
.flow .origin { background: var(--bad); color: var(--card); font-weight: 650; }
.flow .propagated { background: var(--warn-soft); color: var(--warn); }
.flow .silent { background: none; color: var(--soft); outline: 1px dashed var(--line);
  outline-offset: -1px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 10px 0 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.hint { background: var(--warn-soft); color: var(--ink); border-radius: 6px; padding: 8px 12px;
  margin: 12px 0 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th { text-align: left; font-weight: 600; color: var(--soft); }
th, td { padding: 5px 10px; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
tr.bad td { color: var(--bad); } tr:last-child td { border-bottom: 0; }
.meter { width: 90px; height: 8px; display: block; margin: 6px 0 0; }
.meter .track { fill: var(--line); } .meter .fill { fill: var(--good); }
.meter .over { fill: var(--bad); }
details { border-bottom: 1px solid var(--line); }
details:last-of-type { border-bottom: 0; }
summary { cursor: pointer; padding: 7px 2px; display: flex; gap: 12px; flex-wrap: wrap; }
summary::before { content: "\\203A"; color: var(--soft); transition: transform 0.1s; }
details[open] summary::before { transform: rotate(90deg); }
summary .where { color: var(--soft); } summary .much { margin-left: auto; }
details.table { border: 0; } details.table > summary { padding: 0; font-weight: 600; }
details.table > div { padding: 10px 0 0; }
details > div { padding: 0 0 14px 22px; }
.tag { font-size: 12px; padding: 1px 8px; border-radius: 99px; background: var(--bad-soft);
  color: var(--bad); align-self: center; }
.tag.propagated { background: var(--warn-soft); color: var(--warn); }
.legend { display: flex; flex-wrap: wrap; gap: 6px 18px; margin: 0 0 6px; font-size: 13px; }
.legend svg { width: 10px; height: 10px; margin-right: 6px; }
.picture { display: block; width: 100%; min-width: 720px; height: auto;
  font: 12.5px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.picture text { fill: var(--ink); }
.picture .stripe { fill: var(--stripe); } .picture .beyond { fill: var(--bad); opacity: 0.07; }
.picture .grid { stroke: var(--line); stroke-width: 1; }
.picture .limit { stroke: var(--bad); stroke-width: 1.5; }
.picture .limit-label { fill: var(--bad); text-anchor: middle; }
.picture .tick, .picture .axis { fill: var(--soft); text-anchor: middle; }
.picture .tick { font-size: 11.5px; } .picture .raised { font-size: 9px; }
.picture .worst { text-anchor: end; fill: var(--soft); font-variant-numeric: tabular-nums; }
.picture .worst.bad { fill: var(--bad); font-weight: 650; }
.picture .stage.origin { fill: var(--bad); font-weight: 700; }
.dots { fill: none; stroke-width: 4.2; stroke-linecap: round; stroke-opacity: 0.55; }
.dots.dtype-fp64 { stroke: var(--fp64); } .dots.dtype-fp32 { stroke: var(--fp32); }
.dots.dtype-fp16 { stroke: var(--fp16); } .dots.dtype-bf16 { stroke: var(--bf16); }
.dots.dtype-other { stroke: var(--other); }
.out { stroke-width: 1.4; }
.dtype-fp64 { fill: var(--fp64); } .dtype-fp32 { fill: var(--fp32); }
.dtype-fp16 { fill: var(--fp16); } .dtype-bf16 { fill: var(--bf16); }
.dtype-other { fill: var(--other); }
.out { stroke: var(--bad); } .out.propagated { fill: var(--card); stroke: var(--soft); }
.out.expected { fill: var(--card); stroke: var(--warn); }
.dots { fill: none; }
.swatch-out { fill: var(--card); stroke: var(--bad); stroke-width: 1.6; }
.swatch-propagated { fill: var(--card); stroke: var(--soft); stroke-width: 1.6; }
@media print { body { background: none; } .card { break-inside: avoid; } }
"""
"""Inline CSS; colours are variables, so that both themes share every rule."""
