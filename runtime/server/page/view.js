// The answer on the page: label, scores, face against voice, reliance, states, sources and sinks.

import { byId, fit, make, say, show } from "./dom.js";
import { NONE, count, decimal, isNumber, kind, percent, plural, sentence, whyMissing } from "./words.js";

const RELIANCE = [
  ["visual", "Picture"],
  ["audio", "Sound"],
  ["text", "Text"],
];

/** Make the rows that depend on the model's labels; they are filled, never made again. */
export function layOut(labels) {
  const name = (label) => make("th", { scope: "row", text: label, dir: "auto" });
  byId("scores").replaceChildren(
    ...labels.map((label) => {
      const both = [make("i", { className: "smooth" }), make("i", { className: "window" })];
      const bars = make("td", { className: "track" }, ...both);
      return make("tr", {}, name(label), bars, make("td", { className: "strong" }), make("td"));
    }),
  );
  byId("modalities").replaceChildren(
    ...labels.map((label) => make("tr", {}, alone("face"), name(label), alone("voice"))),
  );
  byId("reliance-bar").replaceChildren(...RELIANCE.map(([key]) => make("i", { className: key })));
  byId("reliance").replaceChildren(
    ...RELIANCE.map(([key, word]) => {
      const mark = make("span", { className: `key ${key}`, "aria-hidden": "true" });
      return make("div", {}, make("dt", {}, mark, word), make("dd"));
    }),
  );
}

function alone(side) {
  const bar = make("span", { className: "track" }, make("i"));
  return make("td", { className: side }, make("span", { className: "number" }), bar);
}

export function drawLabel(emotion) {
  const label = emotion.live?.smoothed_label ?? emotion.label;
  const scores = emotion.live?.smoothed_scores ?? emotion.scores;
  say(byId("label"), label);
  say(byId("score"), isNumber(scores?.[label]) ? percent(scores[label]) : "");
  // Said aloud when it changes, not with each window: the node is left alone while the words are the same.
  say(byId("announce"), `Reads as ${label}`);
}

export function drawScores(emotion, labels) {
  const smoothed = emotion.live?.smoothed_scores ?? {};
  const top = emotion.live?.smoothed_label;
  labels.forEach((label, i) => {
    const row = byId("scores").children[i];
    const [, track, smooth, now] = row.children;
    row.classList.toggle("top", label === top);
    widen(track.children[0], smoothed[label]);
    widen(track.children[1], emotion.scores?.[label]);
    say(smooth, percent(smoothed[label]));
    say(now, percent(emotion.scores?.[label]));
  });
}

export function drawModalities(emotion, labels) {
  const { visual, audio } = emotion.by_modality ?? {};
  labels.forEach((label, i) => {
    const [face, , voice] = byId("modalities").children[i].children;
    for (const [cell, scores] of [[face, visual], [voice, audio]]) {
      say(cell.children[0], percent(scores?.[label]));
      widen(cell.children[1].children[0], scores?.[label]);
    }
  });
  const states = emotion.states ?? [];
  say(byId("face-reads"), visual ? `reads ${best(visual)}` : whyMissing("visual", states));
  say(byId("voice-reads"), audio ? `reads ${best(audio)}` : whyMissing("audio", states));
  byId("face-reads").classList.toggle("missing", !visual);
  byId("voice-reads").classList.toggle("missing", !audio);
  say(byId("conflict"), decimal(emotion.conflict));
  say(byId("conflict-note"), saysOfConflict(emotion, visual, audio));
}

function saysOfConflict({ conflict }, visual, audio) {
  if (!isNumber(conflict)) return "Not known for this window: it takes both a face and a voice.";
  if (!visual || !audio) return "";
  const [face, voice] = [best(visual), best(audio)];
  return face === voice ? `Face and voice both read ${face}.` : `The face reads ${face}, the voice ${voice}.`;
}

const best = (scores) => Object.entries(scores).reduce((a, b) => (b[1] > a[1] ? b : a), [NONE, -1])[0];

export function drawReliance({ reliance }) {
  const known = Boolean(reliance);
  const note = "Where the model’s attention went in this window.";
  say(byId("reliance-note"), known ? note : "The model does not report it for this window.");
  show(byId("reliance-bar"), known);
  RELIANCE.forEach(([key], i) => {
    const segment = byId("reliance-bar").children[i];
    widen(segment, reliance?.[key]);
    // A gap belongs between two segments only.
    show(segment, reliance?.[key] > 0);
    say(byId("reliance").children[i].children[1], percent(reliance?.[key]));
  });
}

/** What is out of the ordinary, in words: the answer's states, then sources that are not there. */
export function drawStates(emotion, links, silentFor) {
  const lines = (emotion?.states ?? []).map(sentence);
  if (silentFor) lines.unshift(`No answer for ${silentFor} s.`);
  for (const link of links) {
    const why = link.error ? `: ${link.error}` : ".";
    if (link.condition === "lost") lines.push(`${kind(link.kind)} “${link.name}” is lost${why}`);
  }
  const nodes = fit(byId("states"), Math.max(1, lines.length), () => make("li", { dir: "auto" }));
  byId("states").classList.toggle("quiet", lines.length === 0);
  if (!lines.length) say(nodes[0], emotion ? "Nothing out of the ordinary." : "No answer yet.");
  lines.forEach((line, i) => say(nodes[i], line));
}

export function drawLinks(status) {
  const links = [...(status?.sources ?? []), ...(status?.sinks ?? [])];
  const parts = ["what", "name", "condition", "quiet detail"];
  const nodes = fit(byId("links"), links.length, () =>
    make("li", {}, ...parts.map((className) => make("span", { className, dir: "auto" }))),
  );
  links.forEach((link, i) => {
    const [what, name, word, detail] = nodes[i].children;
    say(what, kind(link.kind));
    say(name, link.name);
    say(word, link.condition);
    nodes[i].dataset.condition = link.condition;
    say(detail, saysOfLink(link));
  });
  show(byId("links-none"), links.length === 0);
}

function saysOfLink(link) {
  const parts = [`${count(link.delivered)} ${link.kind === "sink" ? "answers taken" : "delivered"}`];
  if (link.dropped) parts.push(`${count(link.dropped)} dropped`);
  if (link.reconnects) parts.push(`came back ${plural(link.reconnects, "time")}`);
  if (link.error) parts.push(link.error);
  return parts.join(" · ");
}

function widen(bar, share) {
  const width = `${isNumber(share) ? Math.min(100, Math.max(0, share * 100)).toFixed(2) : 0}%`;
  if (bar.style.width !== width) bar.style.width = width;
}
