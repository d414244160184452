// What is on the screen. Texts of the study go in as text, never as markup.

const byId = (id) => document.getElementById(id);
const KEYS_OF_CHOICES = ["1", "2", "3"];

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Say it where the eye is, and to screen readers. */
function say(text) {
  const asking = !byId("question").hidden;
  byId("told").textContent = asking ? text : "";
  byId("status").textContent = asking ? "" : text;
}

function showScreen(name) {
  for (const each of ["start", "question", "end"]) byId(each).hidden = each !== name;
  document.querySelector("footer").hidden = name === "start";
  byId("part").hidden = name === "end";
}

function showStart(study) {
  document.title = study.title;
  byId("title").textContent = study.title;
  const choices = study.choices.length === 3 ? ", or that they are about equal" : "";
  byId("task").textContent =
    `You see ${study.items.length} questions. Each has a clip and two reasons that were written about it. ` +
    `Choose the reason that fits the clip better${choices}.`;
  if (study.organiser) byId("organiser").textContent = `: ${study.organiser}`;
  study.choices.forEach(({ name, short, rest }, place) => {
    const key = KEYS_OF_CHOICES[place];
    const radio = make("input", { type: "radio", name: "choice", value: name });
    // On a narrow screen, "fits better" is there for screen readers only.
    const words = make("span", {}, short, make("span", { class: "long" }, rest));
    byId("choices").append(make("label", {}, radio, words, make("kbd", { "aria-hidden": "true" }, key)));
    byId("keys").append(make("dt", {}, make("kbd", {}, key)), make("dd", {}, short + rest));
  });
  byId("keys").append(
    make("dt", {}, make("kbd", {}, "←"), " ", make("kbd", {}, "→")),
    make("dd", {}, "Reason 1, Reason 2"),
    make("dt", {}, make("kbd", {}, "Enter")),
    make("dd", {}, "Next question"),
    make("dt", {}, make("kbd", {}, "Backspace")),
    make("dd", {}, "Back to the question before, to change the choice"),
  );
  showScreen("start");
}

let unpacked = null;

/** The clip itself, where the page holds it. Only one is unpacked at a time. */
function showClip(item, number) {
  const before = unpacked;
  const player = byId("clip").querySelector("video, audio");
  unpacked = null;
  byId("clip").replaceChildren(...clipOf(item, number));
  if (player === null) return;
  // It would go on loading from an address that is no more.
  player.removeAttribute("src");
  player.load();
  URL.revokeObjectURL(before);
}

function clipOf(item, number) {
  if (item.media) {
    const bytes = Uint8Array.from(atob(byId(`media-${item.id}`).textContent), (letter) => letter.charCodeAt(0));
    unpacked = URL.createObjectURL(new Blob([bytes], { type: item.media }));
    const tag = item.media.startsWith("audio/") ? "audio" : "video";
    const label = `Clip of question ${number}`;
    const player = make(tag, { controls: "", playsinline: "", src: unpacked, "aria-label": label });
    player.addEventListener("error", () => {
      if (player.isConnected) say("This browser can't play the clip. Skip the question, or use another browser.");
    });
    return [player];
  }
  if (item.clip === null) return [];
  return [make("p", {}, "Play this clip from the files that came with the page: ", make("code", {}, item.clip))];
}

function showQuestion(session) {
  const { question, order, at } = session;
  byId("place").textContent = `Question ${at + 1} of ${order.length}`;
  showClip(question, at + 1);
  byId("transcript").hidden = !question.transcript;
  byId("said").textContent = question.transcript ?? "";
  byId("left").textContent = question.left;
  byId("right").textContent = question.right;
  byId("comment").value = session.entry.comment;
  byId("back").disabled = at === 0;
  showChoice(session);
  showScreen("question");
  scrollTo(0, 0);
  byId("place").focus({ preventScroll: true });
}

function showChoice(session) {
  const { choice } = session.entry;
  for (const radio of document.querySelectorAll("#choices input")) radio.checked = radio.value === choice;
  for (const side of ["left", "right"]) byId(side).parentElement.classList.toggle("chosen", side === choice);
  byId("skip").hidden = choice !== null;
  byId("progress").max = session.order.length;
  byId("progress").value = session.answered;
}

function showEnd(session) {
  showClip({ media: null, clip: null });
  const { answered, order } = session;
  const open = order.length - answered;
  byId("count").textContent =
    `${answered} of ${order.length} questions have an answer.${open ? " You can save as it is, or go back." : ""}`;
  byId("open").hidden = open === 0;
  byId("saved").textContent = "";
  showScreen("end");
  scrollTo(0, 0);
  byId("end-head").focus({ preventScroll: true });
}

function showKept(works) {
  byId("kept").textContent = works
    ? "Your progress is kept in this browser, on this machine only. You may close the page and come back."
    : "This browser keeps nothing for this page: do not close or reload it before you have saved your answers.";
  byId("kept").classList.toggle("warn", !works);
}
