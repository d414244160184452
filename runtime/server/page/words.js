// What the page says: states as sentences, and numbers as people read them.

export const NONE = "–";

// Without a prototype, so that a state called like a method of objects is a state like any other.
const STATES = {
  __proto__: null,
  no_video: "There is no camera picture.",
  no_audio: "There is no sound.",
  no_speech: "Nobody is speaking.",
  no_face: "No face is in view.",
  whole_frame: "The whole picture is used: no face was cut out of it.",
  dark: "The camera picture is too dark.",
  covered: "The camera is covered.",
  short: "This window is shorter than the model expects.",
  unknown: "There is nothing to go by: neither a picture nor sound.",
};

// What explains a missing modality, the likeliest cause first.
const MISSING = {
  visual: ["no_video", "covered", "dark", "no_face"],
  audio: ["no_audio", "no_speech"],
};

const KINDS = { __proto__: null, camera: "Camera", microphone: "Microphone", sink: "Sink" };

export const sentence = (state) => STATES[state] ?? `${String(state).replaceAll("_", " ")}.`;

/** Why there are no scores of a modality, as far as the states tell. */
export function whyMissing(modality, states) {
  const cause = MISSING[modality].find((state) => states.includes(state));
  if (modality === "audio") return `No voice. ${cause ? STATES[cause] : "The model had no sound to go by."}`;
  if (cause === "no_face") return "No face.";
  return `No face. ${cause ? STATES[cause] : "The model had no picture to go by."}`;
}

export const kind = (word) => KINDS[word] ?? String(word);

/** What went wrong and how to mend it, as the server says it; anything else means that it did not answer. */
export function told(error) {
  return error.status ? [error.message, error.fix].filter(Boolean).join("; ") : "The server can’t be reached.";
}

export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

export const percent = (value) => (isNumber(value) ? `${Math.round(value * 100)}%` : NONE);

export const decimal = (value) => (isNumber(value) ? value.toFixed(2) : NONE);

export function milliseconds(value) {
  return isNumber(value) ? `${value < 10 ? value.toFixed(1) : Math.round(value)} ms` : NONE;
}

export const count = (value) => (isNumber(value) ? value.toLocaleString("en") : NONE);

export const timeOfDay = (date) => date.toLocaleTimeString("en-GB");

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
