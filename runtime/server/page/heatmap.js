// Reallocated heads: a map of layers × heads for this window, one for the last minute, and both as a table.

import { byId, fit, make, makeSvg, say } from "./dom.js";
import { percent } from "./words.js";

const LABELS_AT_MOST = 8;

export class HeatMap {
  #layers;
  #heads;
  #now;
  #minute;

  /** @param {number[]} layers the layers that reallocate. @param {number} heads heads in each. */
  constructor(layers, heads) {
    this.#layers = layers;
    this.#heads = heads;
    this.#now = grid(byId("map-now"), layers, heads, "Reallocated heads in this window");
    this.#minute = grid(byId("map-minute"), layers, heads, "Share of the last minute of each reallocated head");
    fit(byId("heads-table"), 0);
    fit(byId("heads-table"), layers.length, (i) =>
      make("tr", {}, make("th", { scope: "row", text: layers[i] }), make("td"), make("td")),
    );
  }

  /** @param {number[][]} reallocated [layer, head] pairs of this window. */
  draw(reallocated, history) {
    const now = new Set(reallocated.map(([layer, head]) => `${layer}:${head}`));
    const open = byId("heads-table").closest("details").open;
    let total = 0;
    this.#layers.forEach((layer, i) => {
      const listed = [];
      const shares = [];
      for (let head = 0; head < this.#heads; head += 1) {
        const cell = i * this.#heads + head;
        const share = history.share(layer, head);
        const hit = now.has(`${layer}:${head}`);
        if (hit) listed.push(head);
        if (share) shares.push(`${head}: ${percent(share)}`);
        fill(this.#now[cell], hit ? 1 : 0);
        fill(this.#minute[cell], share);
      }
      total += listed.length;
      if (!open) return;
      const row = byId("heads-table").children[i];
      say(row.children[1], listed.join(", ") || "none");
      say(row.children[2], shares.join(", ") || "none");
    });
    say(byId("heads"), `${total} of ${this.#layers.length * this.#heads}`);
  }
}

function fill(cell, share) {
  const text = share.toFixed(2);
  if (cell.getAttribute("fill-opacity") !== text) cell.setAttribute("fill-opacity", text);
}

function grid(box, layers, heads, title) {
  const svg = makeSvg("svg", { viewBox: `0 0 ${heads} ${layers.length}`, role: "img" });
  const name = makeSvg("title");
  name.textContent = `${title}; the figures are in the table below.`;
  const cells = [];
  for (let row = 0; row < layers.length; row += 1) {
    for (let column = 0; column < heads; column += 1) {
      const place = { x: column + 0.06, y: row + 0.06, width: 0.88, height: 0.88, rx: 0.08 };
      const value = makeSvg("rect", { class: "heat", "fill-opacity": "0.00", ...place });
      svg.append(makeSvg("rect", { class: "cell", ...place }), value);
      cells.push(value);
    }
  }
  svg.prepend(name);
  const rows = axis(layers, "top", "down");
  const columns = axis(Array.from({ length: heads }, (_, head) => head), "left", "across");
  const corner = make("span", { className: "corner", "aria-hidden": "true", text: "layer \\ head" });
  box.replaceChildren(corner, columns, rows, svg);
  // Cells stay squares of a sensible size, however many there are.
  box.style.maxWidth = `calc(2.5rem + ${heads * 2.75}rem)`;
  return cells;
}

// Names beside the map; with many rows or columns only some of them, each at its place.
function axis(names, side, className) {
  const step = Math.ceil(names.length / LABELS_AT_MOST);
  const node = make("div", { className, "aria-hidden": "true" });
  for (let i = 0; i < names.length; i += step) {
    const label = make("span", { text: names[i] });
    label.style[side] = `${((i + 0.5) / names.length) * 100}%`;
    node.append(label);
  }
  return node;
}
