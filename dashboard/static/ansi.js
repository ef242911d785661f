// Terminal colours of an app's own output, drawn exactly as dashboard/ansi.py does.
const WEIGHTS = { 1: "bold", 2: "dim", 3: "ital", 4: "line" };
const UNWEIGHTS = { 22: ["bold", "dim"], 23: ["ital"], 24: ["line"] };
const PLACES = { 3: ["colour", 0], 4: ["ground", 0], 9: ["colour", 8], 10: ["ground", 8] };

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
  if (colour !== null) classes.push(`c${colour % 8}`);
  if (ground !== null) classes.push(`g${ground % 8}`);
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
