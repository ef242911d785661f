// Lines of a log that arrive after the page, drawn exactly as dashboard/ansi.py and _log.html do.

const WEIGHTS = { 1: "bold", 2: "dim", 3: "ital", 4: "line" };
const UNWEIGHTS = { 22: ["bold", "dim"], 23: ["ital"], 24: ["line"] };
const PLACES = { 3: ["colour", 0], 4: ["ground", 0], 9: ["colour", 8], 10: ["ground", 8] };
const STAMPED = /^(\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d)\.\d{3}Z) (\w{1,20}) \| ([^]*)$/;
const BUILDER = /^#\d+ (\[|CACHED$|DONE |ERROR: )/;
const MARKS = { "[": "named", CACHED: "cached", "DONE ": "done", "ERROR: ": "error" };
const MOST_LINES = 5000;

function nearest(red, green, blue) {
  const bits = (red >= 110) + 2 * (green >= 110) + 4 * (blue >= 110);
  return bits + (Math.max(red, green, blue) >= 200 || (!bits && red >= 70) ? 8 : 0);
}

function fromPalette(index) {
  if (index < 16) return index;
  if (index >= 232) return nearest(...Array(3).fill(8 + 10 * (index - 232)));
  const cube = index - 16;
  return nearest(Math.floor(cube / 36) * 51, (Math.floor(cube / 6) % 6) * 51, (cube % 6) * 51);
}

function extended(numbers) {
  const mode = numbers.shift() ?? 0;
  const wanted = numbers.splice(0, { 5: 1, 2: 3 }[mode] ?? 0);
  if (mode === 5 && wanted.length) return fromPalette(Math.min(wanted[0], 255));
  return wanted.length === 3 ? nearest(...wanted) : null;
}

function coded(style, code) {
  if (code === 0) return { colour: null, ground: null, weights: new Set() };
  if (WEIGHTS[code]) style.weights.add(WEIGHTS[code]);
  for (const weight of UNWEIGHTS[code] ?? []) style.weights.delete(weight);
  const [what, more] = PLACES[Math.floor(code / 10)] ?? [];
  if (what && code % 10 < 8) style[what] = (code % 10) + more;
  if (code === 39 || code === 49) style[what] = null;
  return style;
}

function restyled(style, codes) {
  const numbers = codes.split(";").map((code) => (code && code.length <= 3 ? Number(code) : 0));
  while (numbers.length) {
    const code = numbers.shift();
    if (code === 38) style.colour = extended(numbers);
    else if (code === 48) style.ground = extended(numbers);
    else style = coded(style, code);
  }
  return style;
}

function span(text, { colour, ground, weights }) {
  const classes = [...weights].sort();
  if (colour !== null) classes.push(`c${colour}`);
  if (ground !== null) classes.push(`g${ground}`);
  if (!classes.length) return text;
  const made = document.createElement("span");
  made.className = classes.join(" ");
  made.textContent = text;
  return made;
}

export function coloured(text) {
  let style = coded({}, 0);
  const parts = text.split(/\x1b\[([0-9;]{0,64})m/);
  const made = [];
  for (let i = 0; i < parts.length; i += 2) {
    const plain = parts[i].replaceAll("\x1b", "");
    if (plain) made.push(span(plain, style));
    style = restyled(style, parts[i + 1] ?? "0");
  }
  return made;
}

function element(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

export class Log {
  constructor(box) {
    this.lines = box.querySelector(".log");
    this.nothing = box.querySelector(".no-log");
    this.offset = Number(box.dataset.offset); // bytes: where what has not been seen begins
    this.total = Number(box.dataset.total);
    this.step = [...this.lines.querySelectorAll("b")].at(-1)?.textContent ?? null;
  }

  line(text) {
    const [, stamp, clock, step = "", rest = text] = text.match(STAMPED) ?? [];
    this.total += 1;
    const made = document.createElement("div");
    made.id = `L${this.total}`;
    const mark = step === "build" && MARKS[rest.match(BUILDER)?.[1]];
    const classes = [step !== this.step && "opens", mark].filter(Boolean);
    if (classes.length) made.className = classes.join(" ");
    this.step = step;
    const anchor = element("a", this.total);
    anchor.href = `#${made.id}`;
    made.append(anchor);
    if (stamp) {
      const time = element("time", clock);
      time.dateTime = stamp;
      made.append(time);
    }
    const content = element("span");
    content.append(...coloured(rest));
    made.append(element("b", step), content);
    return made;
  }

  // Adds whole lines that end at the given byte; what was shown already is left out.
  add(text, end) {
    let bytes = new TextEncoder().encode(text.endsWith("\n") ? text : `${text}\n`);
    if (!text || end <= this.offset) return;
    const seen = this.offset - (end - bytes.length);
    if (seen > 0) bytes = bytes.slice(seen);
    this.offset = end;
    const lines = new TextDecoder().decode(bytes).replace(/\n$/, "").split("\n");
    this.lines.append(...lines.map((line) => this.line(line)));
    while (this.lines.childElementCount > MOST_LINES) this.lines.firstElementChild.remove();
    if (this.nothing) this.nothing.hidden = true;
  }
}
