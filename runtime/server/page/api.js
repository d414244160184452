// Requests to the server that served this page. Paths are relative, so a proxy may put the page under a prefix.

const KEY = "mosear.token";

/** A refusal by the server: HTTP status, what is wrong and how to mend it. */
export class Refused extends Error {
  constructor(status, what, fix) {
    super(what);
    this.status = status;
    this.fix = fix;
  }
}

// sessionStorage, so that the token ends with the tab; a browser that forbids it still works until a reload.
let token = "";
try {
  token = sessionStorage.getItem(KEY) ?? "";
} catch {
  token = "";
}

export const hasToken = () => token !== "";

export function setToken(text) {
  token = text;
  try {
    if (text) sessionStorage.setItem(KEY, text);
    else sessionStorage.removeItem(KEY);
  } catch {
    // Storage is forbidden here: the token lives as long as the page.
  }
}

/** fetch() with the token; raises Refused for any answer but 2xx. */
export async function call(path, { headers, ...options } = {}) {
  const sent = new Headers(headers);
  if (token) sent.set("Authorization", `Bearer ${token}`);
  const answer = await fetch(path, { cache: "no-store", ...options, headers: sent });
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

async function refusal(answer) {
  let error = {};
  try {
    error = (await answer.json()).error ?? {};
  } catch {
    // Not JSON: a proxy in between. The status has to do.
  }
  return new Refused(answer.status, error.what ?? `The server answered ${answer.status}.`, error.fix ?? "");
}
