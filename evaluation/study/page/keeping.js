// A rater's progress: kept in this browser where it lets the page, else as long as the page is open.

class Keeping {
  #prefix;
  #memory = new Map();

  constructor(page) {
    this.#prefix = `mosear.study:${page}:`;
    this.works = true;
    this.#write("probe", "1");
    this.#drop("probe");
  }

  /** The id of the rater who was here last, or "". */
  get last() {
    return this.#read("last") ?? "";
  }

  /** Where in the storage a rater's progress is. */
  keyOf(rater) {
    return `${this.#prefix}rater:${rater}`;
  }

  /** A rater's progress, or null. */
  load(rater) {
    return progressIn(this.#read(`rater:${rater}`));
  }

  save(progress) {
    this.#write(`rater:${progress.rater}`, JSON.stringify(progress));
    this.#write("last", progress.rater);
  }

  forget(rater) {
    this.#drop(`rater:${rater}`);
    this.#drop("last");
  }

  #read(name) {
    if (this.#memory.has(name)) return this.#memory.get(name);
    try {
      return localStorage.getItem(this.#prefix + name);
    } catch {
      return null;
    }
  }

  // Storage may be forbidden from the start, or be full later on: then it is memory from there.
  #write(name, text) {
    try {
      localStorage.setItem(this.#prefix + name, text);
      this.#memory.delete(name);
    } catch {
      this.works = false;
      this.#memory.set(name, text);
    }
  }

  #drop(name) {
    this.#memory.delete(name);
    try {
      localStorage.removeItem(this.#prefix + name);
    } catch {
      // Nothing is kept there.
    }
  }
}

/** Progress from its text, or null when it is none. */
function progressIn(text) {
  try {
    const found = JSON.parse(text ?? "null");
    return found && typeof found.rater === "string" && Array.isArray(found.entries) ? found : null;
  } catch {
    return null;
  }
}
