// A log of any length: blocks of lines are fetched when they are near the visible area, and dropped
// when they leave it. Each block belongs to one step, and each step folds.
import { get, problem } from "./actions.js";
import { localClock } from "./times.js";

const BLOCK_LINES = 200;
const LINE_PX = 20; // the estimated height of a line
const NEAR = "1500px 0px";
const FLOWN_OVER_MS = 60; // a block that leaves sooner is not fetched

const numberOf = (line) => Number(line.id.slice(1));
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

function element(name, data = {}, ...children) {
  const made = document.createElement(name);
  Object.assign(made.dataset, data);
  made.append(...children);
  return made;
}

export class Log {
  constructor(box, id) {
    this.id = id;
    this.view = box.querySelector(".log");
    this.nothing = box.querySelector(".no-log");
    this.offset = Number(box.dataset.offset); // bytes: the end of the known lines
    this.total = Number(box.dataset.total);
    this.picked = [0, -1];
    this.watcher = new IntersectionObserver((seen) => seen.forEach((each) => this.turn(each)), {
      root: this.view,
      rootMargin: NEAR,
    });
    for (const block of this.view.querySelectorAll(".block")) this.begin(block);
    this.view.classList.add("ready");
  }

  // Splits an empty block, which may stand for very many lines.
  begin(block) {
    const [first, last] = [Number(block.dataset.first), Number(block.dataset.last)];
    if (block.childElementCount) {
      this.watcher.observe(block);
      return this.dress([...block.children]);
    }
    const made = [];
    for (let from = first; from <= last; from += BLOCK_LINES) made.push(this.block(from, Math.min(from + BLOCK_LINES - 1, last)));
    block.replaceWith(...made);
  }

  block(first, last) {
    const made = element("div", { first, last });
    made.className = "block";
    made.style.height = `${(last - first + 1) * LINE_PX}px`;
    this.watcher.observe(made);
    return made;
  }

  turn({ target, isIntersecting }) {
    target.isNear = isIntersecting;
    if (isIntersecting) this.fill(target);
    else this.letGo(target);
  }

  letGo(block) {
    const height = block.offsetHeight; // 0 when its step is folded
    if (!height || block.filling || !block.childElementCount || block.contains(getSelection().anchorNode)) return;
    block.style.height = `${height}px`;
    block.replaceChildren();
  }

  fill(block) {
    if (!block.style.height) return Promise.resolve();
    block.filling ??= this.fetch(block).finally(() => (block.filling = null));
    return block.filling;
  }

  async fetch(block) {
    const { first, last } = block.dataset; // lines that come later are appended meanwhile
    await wait(FLOWN_OVER_MS);
    try {
      const html = block.isNear && (await (await get(`/deployments/${this.id}/lines?first=${first}&most=${last - first + 1}`)).text());
      if (!block.isNear) return block.replaceChildren();
      block.querySelector("button")?.remove();
      block.insertAdjacentHTML("afterbegin", html);
      block.style.height = "";
      this.dress([...block.children]);
    } catch (error) {
      const again = element("button", {}, `${problem(error)} Show these lines`);
      again.addEventListener("click", () => (block.replaceChildren(), this.fill(block)));
      block.replaceChildren(again);
    }
  }

  // Applies local times and the picked range to new lines.
  dress(lines) {
    const [from, to] = this.picked;
    for (const line of lines) {
      const time = line.querySelector("time");
      if (time && !time.title) localClock(time);
      line.classList.toggle("picked", numberOf(line) >= from && numberOf(line) <= to);
    }
    this.view.dispatchEvent(new Event("keystone:lines"));
  }

  pick(from, to) {
    this.picked = [from, to];
    this.dress([...this.view.querySelectorAll(".block > [id]")]);
  }

  // Fetches a line if necessary, scrolls to it, and gives it.
  async reveal(number) {
    const block = [...this.view.querySelectorAll(".block")].find(({ dataset }) => dataset.first <= number && number <= dataset.last);
    if (!block) return null;
    block.parentElement.open = true;
    block.isNear = true;
    await this.fill(block);
    const line = block.querySelector(`#L${number}`);
    line?.scrollIntoView({ block: "center" });
    return line;
  }

  // Adds lines that end at the given byte; skips known ones.
  add(html, end) {
    const made = document.createElement("template");
    made.innerHTML = html;
    const lines = [...made.content.children].filter((line) => numberOf(line) > this.total);
    for (const line of lines) this.append(line);
    this.offset = Math.max(end, this.offset);
    if (!lines.length) return;
    if (this.nothing) this.nothing.hidden = true;
    this.dress(lines);
  }

  append(line) {
    const number = (this.total = numberOf(line));
    const { step } = line.dataset;
    if (step !== undefined || !this.view.lastElementChild) this.open(step ?? "", number);
    const chapter = this.view.lastElementChild;
    let block = chapter.lastElementChild;
    if (!block.matches(".block") || number - block.dataset.first >= BLOCK_LINES) {
      block = this.block(number, number);
      block.style.height = "";
      chapter.append(block);
    }
    block.dataset.last = number;
    // A block far from the visible area only grows; its lines are fetched later.
    const { style } = block;
    if (style.height) style.height = `${parseFloat(style.height) + LINE_PX}px`;
    if (!style.height || block.filling) block.append(line);
    const count = number - chapter.dataset.first + 1;
    chapter.querySelector("small").textContent = count === 1 ? "1 line" : `${count.toLocaleString("en")} lines`;
  }

  open(step, first) {
    const chapter = element("details", { first }, element("summary", {}, step, element("small")));
    chapter.open = true;
    this.view.append(chapter);
  }
}
