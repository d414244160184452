// What stands around the answer: notice, model, state of the connection, token, pause.

import { hasToken } from "./api.js";
import { byId, say, show } from "./dom.js";
import { NONE, timeOfDay, told } from "./words.js";

const STATE_WORDS = {
  connecting: "Connecting",
  live: "Live",
  lost: "Lost",
  "no-source": "No live source",
  token: "Token needed",
  stopped: "Stopped",
};

/** Show a state of the connection; `since` and `error` come with "lost", `error` with "token". */
export function drawState(word, { since, error }) {
  document.body.dataset.state = word;
  say(byId("connection-word"), STATE_WORDS[word] + (since ? ` since ${timeOfDay(since)}` : ""));
  const old = word !== "live" && word !== "connecting" && byId("label").textContent !== NONE;
  say(byId("now-heading"), old ? "Last read as" : "Reads as");
  const banner = {
    lost: [`The connection is lost since ${since ? timeOfDay(since) : ""}.`, lostFix(error)],
    "no-source": [
      "This server has no live source.",
      "Start it with a camera or a microphone to follow one here; the page keeps asking.",
    ],
    stopped: ["The live loop has stopped.", "What is shown is its last answer."],
  }[word];
  show(byId("banner"), Boolean(banner));
  show(byId("retry"), word === "lost" || word === "no-source");
  if (banner) {
    say(byId("banner-what"), banner[0]);
    say(byId("banner-fix"), banner[1]);
  }
  drawToken(word === "token");
}

function lostFix(error) {
  return `${error?.status ? `It says: ${told(error)}. ` : ""}What is shown is old; the page keeps trying.`;
}

function drawToken(needed) {
  const appeared = needed && byId("token-form").hidden;
  show(byId("token-form"), needed);
  show(byId("panels"), !needed);
  show(byId("forget"), !needed && hasToken());
  say(byId("token-fault"), needed && hasToken() ? "That token was not accepted." : "");
  if (appeared) byId("token").focus();
}

/** Show what GET v1/live says of the server. */
export function drawServer(live) {
  if (live.notice) say(byId("notice"), live.notice);
  const { name, precision, target } = live.model;
  const pace = live.window_s ? `${live.window_s} s window every ${live.hop_s} s` : "";
  say(byId("model"), [name, precision, target, pace].filter(Boolean).join(" · "));
  say(byId("intended-use"), live.intended_use ? `Intended use: ${live.intended_use}.` : "");
}

/** Keep what is scrolled to clear of the notice, whose height is the text's. */
export function keepClearOfNotice() {
  const box = byId("notice-box");
  new ResizeObserver(() => {
    const sticky = getComputedStyle(box).position === "sticky";
    document.documentElement.style.scrollPaddingTop = sticky ? `${box.offsetHeight + 12}px` : "0";
    // A long notice scrolls in its own box, so the keyboard must reach it.
    if (box.scrollHeight > box.clientHeight + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }).observe(box);
}
