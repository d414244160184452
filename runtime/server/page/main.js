// The page: what comes from the connection is remembered, and drawn at most once a frame.

import { setToken } from "./api.js";
import { drawConflict, drawLatency } from "./charts.js";
import { Connection } from "./connection.js";
import { byId, say } from "./dom.js";
import { drawServer, drawState, keepClearOfNotice } from "./frame.js";
import { HeatMap } from "./heatmap.js";
import { History } from "./history.js";
import { LivePicture } from "./picture.js";
import { Reason } from "./reason.js";
import { drawLabel, drawLinks, drawModalities, drawReliance, drawScores, drawStates, layOut } from "./view.js";

const history = new History();
const picture = new LivePicture();
const reason = new Reason();

// With no answer for three hops, and for this long, the page says so.
const QUIET_MS = 5_000;

let model = null;
let hop = 1;
let heatMap = null;
let status = null;
let emotion = null;
let answered = 0;
let paused = false;
let asked = false;

const connection = new Connection({
  state(word, details) {
    drawState(word, details);
    if (word === "lost" || word === "token") {
      history.break();
      reason.lost();
    }
  },
  live(live) {
    drawServer(live);
    picture.allow(Boolean(live.picture_allowed));
    status = live.status;
    hop = live.hop_s ?? hop;
    if (JSON.stringify(live.model) !== JSON.stringify(model)) useModel(live.model);
    redraw();
  },
  status(latest) {
    status = latest;
    redraw();
  },
  emotion(latest) {
    emotion = latest;
    answered = performance.now();
    history.add(latest, answered);
    if (latest.reason) reason.take(latest);
    redraw();
  },
});

function useModel(latest) {
  model = latest;
  emotion = null;
  history.clear();
  layOut(model.labels);
  heatMap = new HeatMap(model.reallocating_layers, model.heads);
}

// A hidden tab draws nothing; it catches up when it is seen again.
function redraw() {
  if (asked || paused || document.hidden) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    if (!paused) draw();
  });
}

function draw() {
  const links = [...(status?.sources ?? []), ...(status?.sinks ?? [])];
  drawLinks(status);
  drawStates(emotion, links, silence());
  drawLatency(history, status?.dropped);
  if (!emotion || !model) return;
  drawLabel(emotion);
  drawScores(emotion, model.labels);
  drawModalities(emotion, model.labels);
  drawReliance(emotion);
  drawConflict(history);
  heatMap.draw(emotion.reallocated_heads ?? [], history);
}

// Seconds without an answer where there should have been some, else 0. The status, every 2 s, makes it count.
function silence() {
  const quiet = performance.now() - answered;
  return emotion && status?.running && quiet > Math.max(QUIET_MS, 3000 * hop) ? Math.round(quiet / 1000) : 0;
}

function pause() {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  say(byId("pause"), paused ? "Resume" : "Pause");
  document.body.classList.toggle("paused", paused);
  redraw();
}

byId("pause").addEventListener("click", pause);
byId("retry").addEventListener("click", () => connection.retry());
byId("forget").addEventListener("click", () => {
  setToken("");
  connection.restart();
});
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = byId("token").value.trim();
  byId("token").value = "";
  if (/^[\x21-\x7e]+$/.test(token)) {
    setToken(token);
    connection.restart();
  } else {
    say(byId("token-fault"), "A token is made of letters, digits and signs, without spaces.");
  }
});
for (const details of document.querySelectorAll("details")) details.addEventListener("toggle", redraw);
document.addEventListener("visibilitychange", redraw);
window.addEventListener("online", () => connection.retry());

keepClearOfNotice();
void connection.run();
