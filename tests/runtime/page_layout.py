"""A page laid out by a browser, where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MEASURE = """<!DOCTYPE html><iframe id="f" style="width:{width}px;height:800px;border:0" srcdoc="{page}"></iframe>
<pre id="out"></pre><script>
document.getElementById("f").onload = (event) => {{
  const inner = event.target.contentDocument, wide = [];
  const left = inner.documentElement.getBoundingClientRect().left;
  for (const node of inner.querySelectorAll("section > *, figure, svg, dl, h1, .callout, .box"))
    if (node.getBoundingClientRect().right - left > {width} + 0.5) wide.push(node.tagName + "." + node.className);
  const type = Math.min(...[...inner.querySelectorAll("svg")].map((s) => s.getBoundingClientRect().width / 340 * 11));
  document.getElementById("out").textContent = JSON.stringify(
    {{scroll: inner.documentElement.scrollWidth, client: inner.documentElement.clientWidth, wide, type}});
}};</script>"""


def layout(source: str, width: int, folder: Path) -> dict[str, Any]:
    """The page in a window ``width`` pixels wide, everything that is folded away opened.

    Returns:
        ``scroll`` and ``client``, widths of its content and of its window; ``wide``, what sticks out; ``type``, the
        smallest type of its plots in pixels.
    """
    inner = source.replace("<details>", "<details open>").replace("&", "&amp;").replace('"', "&quot;")
    (folder / "frame.html").write_text(MEASURE.format(width=width, page=inner), encoding="utf-8")
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"),
        *("--window-size=1400,900", "--virtual-time-budget=4000", "--dump-dom", f"file://{folder / 'frame.html'}"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r'<pre id="out">(\{.*?\})</pre>', done.stdout)
    assert found, done.stderr[-2000:]
    measured: dict[str, Any] = json.loads(found.group(1))
    return measured
