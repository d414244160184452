// The line to the server: what it is about once, then its events; it comes back by itself when it is lost.

import { call, Refused } from "./api.js";
import { readEvents } from "./events.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
const NO_SOURCE_WAIT_MS = 5_000;
// The server sends its status every 2 s, so a stream that is silent for longer is dead even where TCP has not noticed.
const SILENCE_MS = 10_000;

export class Connection {
  #wake = () => {};
  #abort = () => {};
  #failures = 0;
  #lostSince = null;
  #restarting = false;

  /**
   * @param {object} on `state(word, {since, error})`, `live(object)`, `emotion(object)`, `status(object)`.
   *   The words: connecting, live, lost, no-source, token, stopped.
   */
  constructor(on) {
    this.on = on;
  }

  /** Connect, and stay connected until the page is closed. */
  async run() {
    for (;;) {
      const wait = await this.#attempt();
      await new Promise((resolve) => {
        const timer = wait === null ? null : setTimeout(resolve, wait);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Try at once, if it is waiting for the next try. */
  retry() {
    this.#wake();
  }

  /** Begin again, as with another token. */
  restart() {
    this.#restarting = true;
    this.#abort();
    this.#wake();
  }

  /** One connection from beginning to end. Returns how long to wait for the next one, null: until asked. */
  async #attempt() {
    const controller = new AbortController();
    this.#abort = () => controller.abort();
    this.#restarting = false;
    let watchdog = null;
    const heard = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => controller.abort(), SILENCE_MS);
    };
    if (this.#lostSince === null) this.on.state("connecting", {});
    try {
      heard();
      const live = await (await call("v1/live", { signal: controller.signal })).json();
      this.on.live(live);
      if (!live.status) {
        this.#recovered();
        this.on.state("no-source", {});
        return NO_SOURCE_WAIT_MS;
      }
      const accept = { Accept: "text/event-stream" };
      const stream = await call("v1/events", { headers: accept, signal: controller.signal });
      await readEvents(stream.body, (data) => {
        heard();
        this.#take(data);
      });
      return this.#lost(new Error("The server ended the connection."));
    } catch (error) {
      if (this.#restarting) {
        this.#recovered();
        return 0;
      }
      if (error instanceof Refused && error.status === 401) {
        this.#recovered();
        this.on.state("token", { error });
        return null;
      }
      return this.#lost(error);
    } finally {
      clearTimeout(watchdog);
      controller.abort();
    }
  }

  #take(data) {
    let event;
    try {
      event = JSON.parse(data);
    } catch {
      return; // Half an event from a proxy; the next one is whole.
    }
    this.#recovered();
    if (event?.type === "emotion" && event.emotion) {
      this.on.emotion(event.emotion);
    } else if (event?.type === "status") {
      const { status } = event;
      this.on.state(status ? (status.running ? "live" : "stopped") : "no-source", {});
      if (status) this.on.status(status);
    }
  }

  #recovered() {
    this.#failures = 0;
    this.#lostSince = null;
  }

  #lost(error) {
    this.#lostSince ??= new Date();
    this.on.state("lost", { since: this.#lostSince, error });
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#failures);
    this.#failures += 1;
    // Spread, so that many screens do not come back in the same moment.
    return wait * (0.75 + Math.random() / 2);
  }
}
