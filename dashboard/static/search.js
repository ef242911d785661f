// Searches the whole log: the server finds the lines, the browser highlights text in those drawn.
import { get, problem } from "./actions.js";

const PAUSE_MS = 250;
const MORE_MS = 1000; // after new lines, because each search reads the whole log

// The ranges of the text in an element, across the spans that colour it.
function* rangesOf(element, wanted) {
  const text = element.textContent.toLowerCase();
  if (!text.includes(wanted)) return;
  const places = []; // of each character
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) places.push(...Array.from({ length: node.length }, (_, i) => [node, i]));
  for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
    const [from, to] = [at, at + wanted.length - 1].map((place) => places[place] ?? places.at(-1));
    const range = new Range();
    range.setStart(...from);
    range.setEnd(to[0], to[1] + 1);
    yield range;
  }
}

export class Search {
  constructor(form, log) {
    Object.assign(this, { log, lines: [], at: -1, wanted: "" });
    [this.field, this.said] = form.querySelectorAll("input, output");
    this.field.addEventListener("input", () => this.soon(true));
    this.field.addEventListener("keydown", (event) => this.press(event));
    form.addEventListener("submit", (event) => this.turn(event, event.submitter.name === "back"));
    log.view.addEventListener("keystone:lines", () => {
      this.mark();
      // Do not restart the timer: constant new lines would delay the search for ever.
      if (this.wanted && log.total !== this.seen && !this.timer) this.soon(false);
    });
    if (this.field.value) this.soon(true); // typed while this script was loading
  }

  press(event) {
    // By default Enter would press the first button.
    if (event.key === "Enter") this.turn(event, event.shiftKey);
  }

  turn(event, isBack) {
    event.preventDefault();
    this.step(isBack ? -1 : 1);
  }

  soon(isNew) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.timer = 0;
      this.find(isNew).catch((error) => (this.said.textContent = problem(error)));
    }, isNew ? PAUSE_MS : MORE_MS);
  }

  async find(isNew) {
    const wanted = this.field.value.toLowerCase();
    Object.assign(this, { wanted, seen: this.log.total });
    if (isNew) Object.assign(this, { lines: [], at: -1 });
    if (wanted) {
      const found = await (await get(`/deployments/${this.log.id}/matches?text=${encodeURIComponent(wanted)}`)).json();
      if (wanted !== this.wanted) return;
      Object.assign(this, found);
    }
    this.tell();
    this.mark();
    if (isNew) await this.step(1);
  }

  tell() {
    const count = this.total?.toLocaleString("en");
    this.said.textContent = !this.wanted ? "" : !this.lines.length ? "No match" : this.at < 0 ? count : `${this.at + 1} / ${count}`;
  }

  async step(by) {
    if (!this.lines.length) return;
    this.at = (this.at + by + this.lines.length) % this.lines.length;
    this.tell();
    this.current?.classList.remove("found");
    this.current = await this.log.reveal(this.lines[this.at]);
    this.current?.classList.add("found");
  }

  mark() {
    const texts = this.wanted ? [...this.log.view.querySelectorAll(".block > [id] > span")] : [];
    CSS.highlights?.set("match", new Highlight(...texts.flatMap((text) => [...rangesOf(text, this.wanted)])));
  }
}
