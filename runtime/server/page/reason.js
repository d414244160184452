// "Why?": asks for the model's reason, which comes with its next answer.

import { call } from "./api.js";
import { byId, say, show } from "./dom.js";
import { timeOfDay, told } from "./words.js";

const PATIENCE_MS = 60_000;
const WAITING = "Asked. The reason comes with the next answer.";

export class Reason {
  #timer = null;

  constructor() {
    byId("why").addEventListener("click", () => void this.#ask());
  }

  /** Show the reason that an answer carries. */
  take({ reason, label }) {
    this.#settle();
    say(byId("reason"), reason);
    show(byId("reason"), true);
    say(byId("reason-note"), `The model’s words on “${label}”, ${timeOfDay(new Date())}:`);
  }

  /** The line was lost: the answer that was to bring a reason will not come. */
  lost() {
    if (this.#timer !== null) this.#give("The connection was lost before the reason came.");
  }

  async #ask() {
    if (this.#timer !== null) return;
    this.#timer = setTimeout(() => this.#give("No reason came within a minute."), PATIENCE_MS);
    // Not disabled: a disabled button loses the keyboard's place.
    byId("why").setAttribute("aria-disabled", "true");
    show(byId("reason"), false);
    say(byId("reason-note"), WAITING);
    try {
      await call("v1/live/reason", { method: "POST" });
    } catch (error) {
      this.#give(told(error));
    }
  }

  #give(note) {
    this.#settle();
    say(byId("reason-note"), note);
  }

  #settle() {
    clearTimeout(this.#timer);
    this.#timer = null;
    byId("why").removeAttribute("aria-disabled");
  }
}
