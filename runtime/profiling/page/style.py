"""Colours of a profile's plots, and how its page looks on paper."""

STYLE = """
:root { --d: #8b3fb5; --e: #5b6b7b; --f: #b5326a; }
@media (prefers-color-scheme: dark) { :root { --d: #c58af0; --e: #9fb0c0; --f: #f48fb1; } }
svg .d { fill: var(--d); }
.key.d::before { background: var(--d); }
svg .band { fill: var(--a); opacity: .13; }
svg .band-warm { fill: var(--b); opacity: .13; }
.key.band::before { background: var(--a); opacity: .3; }
.key.band-warm::before { background: var(--b); opacity: .3; }
svg .curve { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
svg .curve-0 { stroke: var(--a); }
svg .curve-1 { stroke: var(--b); }
svg .curve-2 { stroke: var(--c); stroke-dasharray: 6 2; }
svg .curve-3 { stroke: var(--d); stroke-dasharray: 3 2; }
svg .curve-4 { stroke: var(--e); stroke-dasharray: 8 2 2 2; }
svg .curve-5 { stroke: var(--f); stroke-dasharray: 1.5 1.5; }
.key.curve-0::before { background: var(--a); }
.key.curve-1::before { background: var(--b); }
.key.curve-2::before { background: var(--c); }
.key.curve-3::before { background: var(--d); }
.key.curve-4::before { background: var(--e); }
.key.curve-5::before { background: var(--f); }
svg .mark { stroke: var(--bad); stroke-width: 1.2; stroke-dasharray: 4 2; }
.charts { grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); }
@media print {
  :root {
    color-scheme: light; --back: #fff; --card: #fff; --text: #000; --soft: #444; --rule: #bbb; --a: #2563c9;
    --b: #d97706; --c: #0f8a7e; --d: #8b3fb5; --e: #5b6b7b; --f: #b5326a; --bad: #c62828; --none: #e6e9ed;
  }
  body { max-width: none; padding: 0; font-size: 10pt; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  section > h2 { break-after: avoid; }
  figure, tr, .callout { break-inside: avoid; }
  figure { border: 1px solid var(--rule); }
  .box { overflow: visible; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""
