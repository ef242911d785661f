// Finds text in the whole log: the server says in which lines, the browser marks it in those that
// are drawn.
import { get, problem } from "./actions.js";

const PAUSE_MS = 250;

// Where the text stands in an element, across the spans that colour it.
function* rangesOf(element, wanted) {
  const nodes = [];
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) nodes.push(walker.currentNode);
  const text = element.textContent.toLowerCase();
  const place = (at) => {
    let i = 0;
    while (i < nodes.length - 1 && at > nodes[i].length) at -= nodes[i++].length;
    return [nodes[i], Math.min(at, nodes[i].length)];
  };
  for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
    const range = new Range();
    range.setStart(...place(at));
    range.setEnd(...place(at + wanted.length));
    yield range;
  }
}

class Search {
  constructor(form, log) {
    Object.assign(this, { form, log, lines: [], total: 0, at: -1, wanted: "" });
    [this.field, this.said] = ["input", "output"].map((part) => form.querySelector(part));
    this.field.addEventListener("input", () => this.soon(true));
    this.field.addEventListener("keydown", (event) => this.press(event));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.step(event.submitter.name === "back" ? -1 : 1);
    });
    log.view.addEventListener("keystone:lines", () => {
      this.mark();
      if (this.wanted && log.total !== this.seen) this.soon(false);
    });
  }

  press(event) {
    if (event.key === "Escape") this.clear();
    if (event.key !== "Enter") return;
    event.preventDefault(); // by itself it would press the first button
    this.step(event.shiftKey ? -1 : 1);
  }

  soon(isNew) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.find(isNew), PAUSE_MS);
  }

  clear() {
    this.field.value = "";
    return this.find(true);
  }

  async find(isNew) {
    this.wanted = this.field.value.toLowerCase();
    this.seen = this.log.total;
    this.said.textContent = "";
    Object.assign(this, { lines: [], total: 0 });
    if (isNew) this.at = -1;
    if (this.wanted) await this.ask(this.wanted).catch((error) => (this.said.textContent = problem(error)));
    this.mark();
    if (isNew && this.lines.length) await this.step(1);
  }

  async ask(wanted) {
    const address = `/deployments/${this.log.id}/matches?text=${encodeURIComponent(wanted)}`;
    const found = await (await get(address)).json();
    if (wanted !== this.wanted) return;
    Object.assign(this, found);
    this.tell();
  }

  tell() {
    const count = this.total.toLocaleString("en");
    this.said.textContent = !this.total ? "No match" : this.at < 0 ? count : `${this.at + 1} / ${count}`;
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
    if (!CSS.highlights) return;
    CSS.highlights.delete("match");
    if (!this.wanted) return;
    const texts = [...this.log.view.querySelectorAll(".block > [id] > span")];
    CSS.highlights.set("match", new Highlight(...texts.flatMap((text) => [...rangesOf(text, this.wanted)])));
  }
}

// It is loaded by the first touch; what was typed meanwhile counts.
export function watchSearch(form, log) {
  const search = new Search(form, log);
  if (search.field.value) search.soon(true);
}
