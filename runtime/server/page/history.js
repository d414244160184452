// What the page remembers: the last minutes of numbers, in bounded memory. Nothing of it is stored.

import { isNumber } from "./words.js";

export const SHOWN_S = 120;
const MINUTE_S = 60;
// Ten answers a second fill two minutes; faster ones push the oldest out early.
const CAPACITY = 1200;

export class History {
  #offset = 0;
  #arrived = 0;
  #broken = true;
  #counts = new Map();
  points = [];
  minute = [];

  /** The line was lost: no curve is drawn across what was not seen. */
  break() {
    this.#broken = true;
  }

  /**
   * Remember an answer.
   * @param {object} emotion a live answer. @param {number} now ms, never going back.
   */
  add(emotion, now) {
    const time = this.#timeOf(emotion.end, now);
    this.points.push({
      time,
      gap: this.#broken,
      conflict: emotion.conflict,
      latency: emotion.live?.latency_ms,
      dropped: emotion.live?.dropped ?? 0,
    });
    this.#broken = false;
    const heads = [...new Set((emotion.reallocated_heads ?? []).map(([layer, head]) => `${layer}:${head}`))];
    this.minute.push({ time, heads });
    for (const head of heads) this.#counts.set(head, (this.#counts.get(head) ?? 0) + 1);
    while (this.points.length > CAPACITY || this.points[0].time < time - SHOWN_S) this.points.shift();
    while (this.minute.length > CAPACITY || this.minute[0].time <= time - MINUTE_S) this.#forget(this.minute.shift());
  }

  get latest() {
    return this.points.at(-1)?.time ?? 0;
  }

  /** The share of the last minute's windows in which a head was reallocated, 0 to 1. */
  share(layer, head) {
    return this.minute.length ? (this.#counts.get(`${layer}:${head}`) ?? 0) / this.minute.length : 0;
  }

  clear() {
    this.points = [];
    this.minute = [];
    this.#counts.clear();
    this.#broken = true;
  }

  // The server's seconds, going on where they were when a restarted server begins again at 0.
  #timeOf(end, now) {
    const last = this.points.at(-1)?.time;
    let time = end + this.#offset;
    if (last !== undefined && time <= last) {
      time = last + Math.max(0.1, (now - this.#arrived) / 1000);
      this.#offset = time - end;
      this.#broken = true;
    }
    this.#arrived = now;
    return time;
  }

  #forget({ heads }) {
    for (const head of heads) {
      const left = this.#counts.get(head) - 1;
      if (left) this.#counts.set(head, left);
      else this.#counts.delete(head);
    }
  }
}

/** The nearest-rank percentile of numbers, null of none. */
export function percentile(values, share) {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

/** Twelve stretches of ten seconds, the newest first: {from, to (seconds ago), mean, highest, dropped}. */
export function stretches(points, latest, value) {
  const width = SHOWN_S / 12;
  return Array.from({ length: 12 }, (_, i) => {
    const inside = points.filter((p) => Math.min(11, Math.floor((latest - p.time) / width)) === i);
    const values = inside.map(value).filter(isNumber);
    return {
      from: i * width,
      to: (i + 1) * width,
      mean: values.length ? values.reduce((a, b) => a + b, 0) / values.length : null,
      highest: values.length ? Math.max(...values) : null,
      dropped: inside.reduce((sum, p) => sum + p.dropped, 0),
    };
  });
}
