// The live picture: off until somebody turns it on, asked for one at a time, never stored.

import { call } from "./api.js";
import { byId, say, show } from "./dom.js";
import { told } from "./words.js";

const EVERY_MS = 500;
const AFTER_FAULT_MS = 2_000;

export class LivePicture {
  #allowed = null;
  #on = false;
  #address = null;
  #round = 0;

  constructor() {
    byId("picture-switch").addEventListener("click", () => {
      if (this.#allowed) this.#turn(!this.#on);
    });
    document.addEventListener("visibilitychange", () => this.#again());
    this.#explain();
  }

  /** What the server says about it: true, false, or null while it has not said. */
  allow(allowed) {
    this.#allowed = allowed;
    if (!allowed && this.#on) this.#turn(false);
    else this.#explain();
  }

  #turn(on, note) {
    this.#on = on;
    const button = byId("picture-switch");
    button.setAttribute("aria-checked", String(on));
    say(byId("picture-word"), on ? "On" : "Off");
    show(byId("picture-frame"), on);
    this.#show(null);
    this.#explain(note);
    this.#again();
  }

  #explain(note) {
    byId("picture-switch").setAttribute("aria-disabled", String(!this.#allowed));
    say(byId("picture-note"), note ?? this.#usual());
  }

  #usual() {
    if (this.#allowed === null) return "";
    if (!this.#allowed) return "Not offered: the server was started without the option allow-picture.";
    if (this.#on) return "About two pictures a second. Nothing is stored.";
    return "Off. Nothing is fetched until you turn it on, and nothing is stored.";
  }

  #again() {
    this.#round += 1;
    if (this.#on && !document.hidden) void this.#poll(this.#round);
  }

  // One round lasts until the switch or the tab's visibility changes; a later round ends it.
  async #poll(round) {
    while (round === this.#round) {
      let wait = EVERY_MS;
      try {
        const blob = await (await call("v1/live/picture")).blob();
        if (round !== this.#round) return;
        this.#show(blob);
        this.#explain();
      } catch (error) {
        if (round !== this.#round) return;
        if (error.status === 403 || error.status === 401) {
          this.#turn(false, told(error));
          return;
        }
        // An old picture would pass for the present one.
        this.#show(null);
        this.#explain("No picture from the camera at the moment; trying again.");
        wait = AFTER_FAULT_MS;
      }
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }

  #show(blob) {
    const image = byId("picture");
    const old = this.#address;
    this.#address = blob && URL.createObjectURL(blob);
    if (blob) image.src = this.#address;
    else image.removeAttribute("src");
    show(image, Boolean(blob));
    if (old) URL.revokeObjectURL(old);
  }
}
