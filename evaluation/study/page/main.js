// The page comes alive: every key, button and field, and what it does.

const study = JSON.parse(byId("study").textContent);
const keeping = new Keeping(study.page);
let session = null;
let unsaved = false;

const typed = () => byId("rater").value.normalize("NFC").trim().replace(/\s+/g, " ");

function show() {
  if (session.finished) showEnd(session);
  else showQuestion(session);
  session.watch(!document.hidden);
}

function keep() {
  keeping.save(session.progress());
  showKept(keeping.works);
}

function choose(name) {
  session.choose(name);
  unsaved = true;
  keep();
  showChoice(session);
  const { short, rest } = study.choices.find((each) => each.name === name);
  say("");
  // A key chooses without moving the focus, so that a screen reader has to be told.
  byId("chosen").textContent = `Chosen: ${short}${rest}.`;
}

function go(to) {
  session.move(to);
  keep();
  byId("chosen").textContent = "";
  show();
  say("");
}

function next() {
  if (session.entry.choice !== null) go(session.at + 1);
  else say("Choose one of them first, or skip the question.");
}

function save() {
  const name = `answers-${session.rater.replace(/[^\p{L}\p{N}._-]/gu, "_")}.json`;
  const text = JSON.stringify(session.answers(), null, 1);
  const address = URL.createObjectURL(new Blob([`${text}\n`], { type: "application/json" }));
  const link = make("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
  unsaved = false;
  return `Saved as ${name}, where this browser puts downloads. Send that file to the organiser of the study.`;
}

function forget() {
  if (!confirm("Remove your answers from this browser? What you have not saved as a file is lost.")) return;
  keeping.forget(session.rater);
  session = null;
  unsaved = false;
  byId("rater").value = "";
  showKnown();
  showScreen("start");
  say("Removed from this browser.");
  byId("rater").focus();
}

function showKnown() {
  const known = typed() ? keeping.load(typed()) : null;
  const answered = known ? new Session(study, typed(), known).answered : 0;
  byId("known").textContent = known ? `Progress found: ${answered} of ${study.items.length} questions have an answer.` : "";
  byId("go").textContent = known ? "Go on" : "Begin";
}

byId("rater").addEventListener("input", showKnown);

byId("begin").addEventListener("submit", (event) => {
  event.preventDefault();
  const rater = typed();
  if (!rater) {
    say("Type your rater id first.");
    return;
  }
  session = new Session(study, rater, keeping.load(rater));
  keep();
  show();
  say("");
});

byId("choices").addEventListener("change", (event) => choose(event.target.value));
byId("choose").addEventListener("submit", (event) => {
  event.preventDefault();
  next();
});
byId("comment").addEventListener("input", (event) => {
  session.comment(event.target.value);
  unsaved = true;
  keep();
});
byId("back").addEventListener("click", () => go(session.at - 1));
byId("skip").addEventListener("click", () => go(session.at + 1));
byId("review").addEventListener("click", () => go(session.at - 1));
byId("open").addEventListener("click", () => go(session.firstOpen));
byId("save").addEventListener("click", () => {
  byId("saved").textContent = save();
  say("Saved.");
});
byId("save-part").addEventListener("click", () => say(save()));
byId("forget").addEventListener("click", forget);

document.addEventListener("keydown", (event) => {
  if (session === null || session.finished || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  const at = event.target instanceof Element ? event.target : document.body;
  // Fields and players have these keys for themselves, and a button is pressed by its Enter.
  if (at.matches("textarea, video, audio, input:not([name=choice])")) return;
  if (event.key === "Enter" && !at.matches("button, input")) {
    event.preventDefault();
    next();
  } else if (event.key === "Backspace" && session.at > 0) {
    event.preventDefault();
    go(session.at - 1);
  } else if (byId("single-keys").checked) {
    const place = KEYS_OF_CHOICES.indexOf(event.key);
    // In the group of choices, arrows move as in any other group.
    const arrow = at.matches("input") ? -1 : ["ArrowLeft", "ArrowRight"].indexOf(event.key);
    const choice = study.choices[place >= 0 ? place : arrow];
    if (!choice) return;
    event.preventDefault();
    choose(choice.name);
  }
});

// The same rater may have gone on in another tab: what was kept last counts in both.
function takeOver(known) {
  if (known === null || JSON.stringify(known.entries) === JSON.stringify(session.progress().entries)) return;
  session.watch(false);
  session.adopt(known);
  show();
  say("Your answers were changed in another tab; this one shows them now.");
}

document.addEventListener("visibilitychange", () => {
  if (session === null) return;
  session.watch(!document.hidden);
  if (document.hidden) keep();
  else takeOver(keeping.load(session.rater));
});

addEventListener("storage", (event) => {
  if (session !== null && event.key === keeping.keyOf(session.rater)) takeOver(progressIn(event.newValue));
});

addEventListener("beforeunload", (event) => {
  if (!keeping.works && unsaved) event.preventDefault();
});

showStart(study);
showKept(keeping.works);
byId("rater").value = keeping.last;
showKnown();
