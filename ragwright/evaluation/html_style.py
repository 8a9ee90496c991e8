"""The style sheet of the evaluation's page: light, dark and paper; wide and narrow."""

from __future__ import annotations

STYLE = """
:root { --ink: #1c2126; --soft: #57606a; --paper: #ffffff; --card: #f6f8fa; --rule: #d0d7de;
  --a: #0062a3; --b: #b94a00; --c: #00795a; --d: #9c3d7c; --good: #16692f; --bad: #b3261e; --fair: #8a5a00; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --soft: #a3abb3; --paper: #15181b; --card: #1f2428; --rule: #3a4148;
    --a: #5cb3f0; --b: #f0a04b; --c: #3ecf9f; --d: #e39ac9; --good: #5fd07f; --bad: #ff8a80; --fair: #f0c45c; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .75rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.25rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0; }
p { margin: 0 0 .35rem; }
ul, ol { margin: 0; padding-inline-start: 1.2rem; }
summary { cursor: pointer; color: var(--soft); }
dl { margin: 0; } dl div { display: flex; gap: .5rem; flex-wrap: wrap; }
dt { color: var(--soft); min-width: 7.5rem; } dd { margin: 0; overflow-wrap: anywhere; flex: 1 1 14rem; }
.verdict { margin: 1.25rem 0; padding: .75rem 1rem; background: var(--card);
  border-inline-start: 6px solid var(--soft); }
.verdict strong { font-size: 1.1rem; }
.verdict.passed { border-color: var(--good); } .verdict.passed strong { color: var(--good); }
.verdict.warned { border-color: var(--fair); } .verdict.warned strong { color: var(--fair); }
.verdict.blocked { border-color: var(--bad); } .verdict.blocked strong { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .75rem; margin: 1.25rem 0; }
.tiles div { background: var(--card); border: 1px solid var(--rule); border-radius: 6px; padding: .7rem .9rem; }
.tiles div { display: flex; flex-direction: column; }
.tiles .value { margin-top: auto; font-size: 1.7rem; font-weight: 600; line-height: 1.2; }
.tiles .what, .tiles .interval { margin: 0; } .what, .interval, .aside { color: var(--soft); font-size: .87rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
th, td { text-align: start; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid var(--rule);
  overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; overflow-wrap: normal; }
td.n, th.n { text-align: end; font-variant-numeric: tabular-nums; white-space: nowrap; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; } a { color: var(--a); }
.said { white-space: pre-line; }
.wide { overflow-x: auto; } .wide th, .wide td { overflow-wrap: normal; } .wide td:first-child { min-width: 8.5rem; }
.figures svg { width: 140px; height: 18px; display: block; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); gap: 1rem; }
figure { margin: 0; padding: .9rem; background: var(--card); border: 1px solid var(--rule); border-radius: 6px;
  break-inside: avoid; min-width: 0; }
figcaption p { color: var(--soft); font-size: .87rem; }
figure > svg { width: 100%; height: auto; display: block; margin: .5rem 0; }
svg text { font: 13px system-ui, "Segoe UI", sans-serif; fill: var(--ink); }
svg .tick, svg .name { fill: var(--soft); } svg .mid { text-anchor: middle; } svg .end { text-anchor: end; }
svg .grid { stroke: var(--rule); stroke-width: 1; } svg .axis { stroke: var(--soft); stroke-width: 1.2; }
svg .line { fill: none; stroke-width: 2.4; stroke-linejoin: round; } svg .thin { stroke-width: 1.4; }
svg .line.a { stroke: var(--a); } svg .line.b { stroke: var(--b); stroke-dasharray: 7 3; }
svg .line.c { stroke: var(--c); stroke-dasharray: 2 3; } svg .line.d { stroke: var(--d); stroke-dasharray: 9 3 2 3; }
svg .quiet { stroke: var(--soft); stroke-width: 1.3; } svg .dash { stroke-dasharray: 5 4; }
svg .whisker { stroke: var(--ink); stroke-width: 1.4; }
svg .dot { stroke: var(--card); stroke-width: 1; }
svg .a { fill: var(--a); } svg .b { fill: var(--b); } svg .c { fill: var(--c); } svg .d { fill: var(--d); }
svg .line { fill: none; } svg .bar.b { fill: var(--card); stroke: var(--b); stroke-width: 1.6; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.failures { table-layout: fixed; } .failures th:nth-child(1) { width: 17%; } .failures th:nth-child(2) { width: 16%; }
.failures th:nth-child(3) { width: 24%; } .failures th:nth-child(4) { width: 15%; }
.failures th:nth-child(6) { width: 7rem; }
@media (max-width: 760px) {
  .figures :is(th, td):nth-child(4) { display: none; }
  .stacked thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .stacked, .stacked tbody, .stacked tr, .stacked td { display: block; }
  .stacked tr { border: 1px solid var(--rule); border-radius: 6px; margin: 0 0 .8rem; padding: .3rem 0; }
  .stacked td { border: 0; } .stacked td.n { text-align: start; }
  .stacked td[data-label]::before { content: attr(data-label); display: block; color: var(--soft); font-size: .8rem; }
}
@media (max-width: 480px) { svg text { font-size: 16px; } }
@media print {
  body { font-size: 10pt; } main { max-width: none; padding: 0; } tr { break-inside: avoid; }
  h2 { break-after: avoid; } thead { display: table-header-group; } details:not([open]), nav { display: none; }
  .plots { grid-template-columns: 1fr 1fr; }
}
"""
