// An app's live container: its present state in Docker, and its output.
import { get, problem } from "./actions.js";
import { isMarked } from "./fresh.js";
import { watchTail } from "./tail.js";
import { age } from "./times.js";

const LOOK_MS = 10_000;
const READ_MS = 3000;

function since(moment) {
  const time = document.createElement("time");
  Object.assign(time, { dateTime: moment, title: moment, textContent: age(Date.parse(moment), Date.now()) });
  time.dataset.age = "";
  return time;
}

const stateOf = (card) => card.querySelector("[data-state]").dataset.state;

function show(card, said) {
  for (const row of card.querySelectorAll("[data-fact]")) {
    const [name, value] = [row.dataset.fact, said[row.dataset.fact]];
    row.hidden = value === null || value === false;
    if (value !== true) row.querySelector("dd").replaceChildren(name === "since" && value ? since(value) : String(value));
  }
  // The request has updated the app's state on the server, which renders it.
  const isNews = stateOf(card) !== said.state;
  if (isNews) document.dispatchEvent(new Event("keystone:changed"));
}

async function look(card) {
  if (document.hidden || stateOf(card) === "none") return;
  const words = card.querySelector("[role=status]");
  try {
    show(card, await (await get(card.dataset.container)).json());
    words.textContent = "";
  } catch (error) {
    words.textContent = problem(error);
  }
}

function watchOutput(box) {
  const [log, state] = [".log", ".link-state"].map((part) => box.querySelector(part));
  const tail = watchTail(box.querySelector("[data-tool]"), log);
  let shown = null;
  const read = async () => {
    // Do not update while the user has scrolled up or selected text.
    if (!box.open || document.hidden || !tail.isOn() || isMarked(log)) return;
    try {
      // The server has escaped it: a container's output never becomes markup.
      const html = await (await get(box.dataset.output)).text();
      if (html !== shown && tail.isOn()) log.innerHTML = shown = html;
      state.textContent = html ? "" : "It has written nothing yet.";
      tail.keepUp();
    } catch (error) {
      state.textContent = problem(error);
    }
  };
  box.addEventListener("toggle", read);
  read(); // it may have been opened while this script was loading
  setInterval(read, READ_MS);
}

const card = document.querySelector("[data-container]");
look(card);
setInterval(look, LOOK_MS, card);
watchOutput(card.querySelector("[data-output]"));
