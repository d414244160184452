// Curves over the last two minutes, as SVG paths in a box of 1000 × 100 that the page stretches.

import { byId, fit, make, say } from "./dom.js";
import { SHOWN_S, percentile, stretches } from "./history.js";
import { count, decimal, isNumber, milliseconds } from "./words.js";

const x = (time, latest) => (1000 * (1 - (latest - time) / SHOWN_S)).toFixed(1);
const y = (value, top) => (100 * (1 - Math.min(1, Math.max(0, value / top)))).toFixed(2);

/** The points as runs without a gap: a new run begins after a null and where the line was lost. */
export function runs(points, value) {
  const all = [];
  let open = false;
  for (const point of points) {
    if (!isNumber(value(point))) {
      open = false;
      continue;
    }
    if (!open || point.gap) all.push([]);
    all.at(-1).push(point);
    open = true;
  }
  return all;
}

function line(all, latest, value, top) {
  const at = (point) => `${x(point.time, latest)} ${y(value(point), top)}`;
  // A run of one point is drawn as a dot: a line of no length with a round cap.
  return all.map((run) => `M${run.map(at).join("L")}${run.length === 1 ? "h0.01" : ""}`).join("");
}

function area(all, latest, value, top) {
  const at = (point) => `L${x(point.time, latest)} ${y(value(point), top)}`;
  const foot = (point) => `${x(point.time, latest)} 100`;
  return all
    .filter((run) => run.length > 1)
    .map((run) => `M${foot(run[0])}${run.map(at).join("")}L${foot(run.at(-1))}Z`)
    .join("");
}

/** The next of 1, 2, 5, 10, 20 … that is not below `value`. */
export function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, value)));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

export function drawConflict(history) {
  const { points, latest } = history;
  const value = (point) => point.conflict;
  const all = runs(points, value);
  byId("conflict-line").setAttribute("d", line(all, latest, value, 1));
  byId("conflict-area").setAttribute("d", area(all, latest, value, 1));
  table("conflict-table", stretches(points, latest, value), (each) => [decimal(each.mean), decimal(each.highest)]);
}

export function drawLatency(history, droppedInAll) {
  const { points, latest } = history;
  const value = (point) => point.latency;
  const values = points.map(value).filter(isNumber);
  const median = percentile(values, 0.5);
  const top = roundUp(values.length ? Math.max(...values) : 1);
  const dropped = points.filter((point) => point.dropped > 0);
  byId("latency-line").setAttribute("d", line(runs(points, value), latest, value, top));
  byId("latency-median").setAttribute("d", median === null ? "" : `M0 ${y(median, top)}H1000`);
  byId("latency-drops").setAttribute("d", dropped.map((p) => `M${x(p.time, latest)} 100v-22`).join(""));
  say(byId("latency-top"), values.length ? milliseconds(top) : "");
  say(byId("latency"), milliseconds(value(points.at(-1) ?? {})));
  say(byId("latency-p50"), milliseconds(median));
  say(byId("latency-p95"), milliseconds(percentile(values, 0.95)));
  say(byId("dropped-shown"), count(dropped.reduce((sum, point) => sum + point.dropped, 0)));
  say(byId("dropped-all"), count(droppedInAll));
  table("latency-table", stretches(points, latest, value), (each) => [
    milliseconds(each.mean),
    milliseconds(each.highest),
    count(each.dropped),
  ]);
}

// A closed table is left as it is: it is filled when it is opened.
function table(id, rows, cells) {
  const body = byId(id);
  if (!body.closest("details").open) return;
  const blank = () => make("tr", {}, make("th", { scope: "row" }), ...cells(rows[0]).map(() => make("td")));
  const nodes = fit(body, rows.length, blank);
  rows.forEach((row, i) => {
    [`${row.from} to ${row.to}`, ...cells(row)].forEach((text, j) => say(nodes[i].children[j], text));
  });
}
