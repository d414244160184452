// One rater's way through the questions: what was chosen, how long it took, where the rater is.

class Session {
  #entries = new Map();
  #since = null;

  /** @param known progress of the same rater from before, or null. */
  constructor(study, rater, known) {
    this.study = study;
    this.rater = rater;
    const items = new Map(study.items.map((item) => [item.id, item]));
    this.order = orderFor(rater, study.page, study.items);
    this.questions = this.order.map((id) => items.get(id));
    this.at = 0;
    this.adopt(known);
  }

  /** Take over what is known of this rater, as after a reload; the page may have been tampered with since. */
  adopt(known) {
    for (const entry of known?.entries ?? []) {
      if (!this.order.includes(entry?.item)) continue;
      this.#entries.set(entry.item, {
        item: entry.item,
        choice: this.study.choices.some(({ name }) => name === entry.choice) ? entry.choice : null,
        seconds: seconds(entry.seconds),
        changes: Math.floor(seconds(entry.changes)),
        comment: typeof entry.comment === "string" ? entry.comment.slice(0, 2000) : "",
        viewed: seconds(entry.viewed),
      });
    }
    this.at = Math.min(Math.floor(seconds(known?.at)), this.order.length);
  }

  get finished() {
    return this.at >= this.order.length;
  }

  get question() {
    return this.questions[this.at];
  }

  get entry() {
    return this.#entryOf(this.order[this.at]);
  }

  get answered() {
    return this.order.filter((id) => this.#entryOf(id).choice !== null).length;
  }

  /** The place of the first question without an answer, or -1. */
  get firstOpen() {
    return this.order.findIndex((id) => this.#entryOf(id).choice === null);
  }

  choose(choice) {
    this.#count();
    const { entry } = this;
    if (entry.choice === choice) return;
    if (entry.choice !== null) entry.changes += 1;
    entry.choice = choice;
    entry.seconds = entry.viewed;
  }

  comment(text) {
    this.entry.comment = text;
  }

  move(to) {
    this.watch(false);
    this.at = Math.max(0, Math.min(to, this.order.length));
  }

  /** Time runs only while the question is in sight. */
  watch(visible) {
    this.#count();
    this.#since = visible && !this.finished ? performance.now() : null;
  }

  #count() {
    if (this.#since === null) return;
    const now = performance.now();
    this.entry.viewed += (now - this.#since) / 1000;
    this.#since = now;
  }

  #entryOf(item) {
    if (!this.#entries.has(item)) {
      this.#entries.set(item, { item, choice: null, seconds: 0, changes: 0, comment: "", viewed: 0 });
    }
    return this.#entries.get(item);
  }

  /** What is kept in the browser. */
  progress() {
    this.#count();
    return { rater: this.rater, at: this.at, entries: [...this.#entries.values()] };
  }

  /** What is saved as a file; see mosear.evaluation.study.answers. */
  answers() {
    const choices = this.order.map((id) => {
      const { item, choice, seconds: time, changes, comment } = this.#entryOf(id);
      const taken = choice === null ? null : Math.round(time * 10) / 10;
      return { item, choice, seconds: taken, changes, comment: whole(comment) };
    });
    const { answers: schema, page } = this.study;
    return { schema, page, rater: whole(this.rater), complete: this.firstOpen === -1, order: this.order, choices };
  }
}

/** Without halves of UTF-16 pairs, as a field that cuts an emoji in two leaves them: other programs refuse those. */
function whole(text) {
  return text.replace(/[\ud800-\udfff]/gu, "\ufffd");
}

function seconds(value) {
  return Number.isFinite(value) && value > 0 ? value : 0;
}
