"""The page's style: light and dark, one column that reads on a phone."""

STYLE = """
:root {
  color-scheme: light dark; --back: #ffffff; --card: #f5f6f8; --text: #1b1f24; --soft: #57606a;
  --rule: #d8dee4; --a: #2563c9; --b: #d97706; --c: #0f8a7e; --good: #1a7f37; --bad: #c62828;
  --none: #e6e9ed;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #0f1319; --card: #181e26; --text: #e6e9ed; --soft: #9aa5b1; --rule: #303843; --a: #6ea4f8;
    --b: #f2a33a; --c: #3fc4b4; --good: #4ac26b; --bad: #ff7b72; --none: #262e38;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 16px; max-width: 1080px; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  overflow-wrap: anywhere;
}
h1 { font-size: 1.4rem; line-height: 1.25; margin: 0 0 8px; }
h2 { font-size: 1.1rem; margin: 32px 0 4px; padding-top: 12px; border-top: 1px solid var(--rule); }
h3 { font-size: .95rem; margin: 0 0 4px; }
p { margin: 4px 0 12px; }
.soft { color: var(--soft); font-size: .87rem; }
.verdict { display: inline-block; padding: 2px 12px; border-radius: 999px; color: #fff; font-weight: 600; }
.verdict.pass { background: #1a7f37; }
.verdict.fail { background: #b3261e; }
td.pass { color: var(--good); font-weight: 600; }
td.fail { color: var(--bad); font-weight: 600; }
.callout {
  border-left: 4px solid var(--b); background: var(--card); padding: 10px 12px; border-radius: 4px;
  margin: 12px 0;
}
.callout.fail { border-color: var(--bad); }
.callout p { margin: 0; }
dl { display: grid; grid-template-columns: minmax(92px, max-content) 1fr; gap: 2px 12px; margin: 12px 0; }
dt { color: var(--soft); }
dd { margin: 0; min-width: 0; }
code { font: .85em ui-monospace, Menlo, Consolas, monospace; }
.box { overflow-x: auto; max-width: 100%; margin: 8px 0; }
.box:focus-visible { outline: 2px solid var(--a); }
table {
  border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums;
  min-width: min(100%, 420px);
}
th, td {
  text-align: left; padding: 4px 10px 4px 0; border-bottom: 1px solid var(--rule); vertical-align: top;
}
th { color: var(--soft); font-weight: 600; overflow-wrap: normal; }
td { overflow-wrap: break-word; }
td.number { white-space: nowrap; }
tr.group td { padding-top: 14px; color: var(--soft); font-weight: 600; }
table.checks { width: 100%; min-width: 0; }
table.wide td { white-space: nowrap; overflow-wrap: normal; }
.charts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 400px)); gap: 16px;
  margin: 8px 0;
}
figure { margin: 0; padding: 10px; background: var(--card); border-radius: 8px; min-width: 0; }
figcaption { font-size: .87rem; color: var(--soft); margin-bottom: 4px; }
svg { display: block; width: 100%; height: auto; max-width: 380px; }
svg text {
  fill: var(--text); font: 11px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
svg .soft { fill: var(--soft); font-size: 11px; }
svg .end { text-anchor: end; }
svg .mid { text-anchor: middle; }
svg .a { fill: var(--a); }
svg .b { fill: var(--b); }
svg .c { fill: var(--c); }
svg .none { fill: var(--none); }
svg .line-a { stroke: var(--a); fill: none; stroke-width: 2; }
svg .line-b { stroke: var(--b); fill: none; stroke-width: 2; stroke-dasharray: 5 3; }
svg .rule { stroke: var(--rule); }
svg .whisker { stroke: var(--text); stroke-width: 1.2; }
.key { white-space: nowrap; margin-right: 10px; }
.key::before {
  content: ""; display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 4px;
}
.key.a::before { background: var(--a); }
.key.b::before { background: var(--b); }
.key.c::before { background: var(--c); }
details { margin: 6px 0; }
summary { cursor: pointer; color: var(--soft); font-size: .87rem; }
@media (max-width: 480px) {
  body { padding: 12px; font-size: 14px; }
  th, td { padding-right: 7px; }
  figure { padding: 6px; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 6px; }
  table.checks, table.checks thead, table.checks tbody { display: block; }
  table.checks tr {
    display: grid; grid-template-columns: 5fr 8fr 2fr 2.8rem; border-bottom: 1px solid var(--rule);
  }
  table.checks th, table.checks td { border: 0; padding: 1px 6px 1px 0; }
  table.checks td:first-child { grid-column: 1 / -1; }
  table.checks th:first-child { display: none; }
  table.checks tr:not(.group) td:last-child { white-space: nowrap; }
  tr.group td { padding-top: 12px; }
}
"""
