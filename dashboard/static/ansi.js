// Styles of an app's own output, as jobs/rules/ansi.py writes them: each sequence says a whole style.
const WEIGHTS = ["bold", "dim", "ital", "line"];

function classOf(code) {
  if (code < 5) return WEIGHTS[code - 1];
  return `${Math.floor(code / 10) % 6 === 4 || code >= 100 ? "g" : "c"}${code % 10}`;
}

function span(text, codes) {
  if (!codes.length) return text;
  const made = document.createElement("span");
  made.className = codes.map(classOf).join(" ");
  made.textContent = text;
  return made;
}

export function coloured(line) {
  const parts = line.split(/\x1b\[([0-9;]*)m/);
  const made = [];
  for (let i = 0; i < parts.length; i += 2) {
    const codes = (parts[i - 1] ?? "0").split(";").map(Number);
    if (parts[i]) made.push(span(parts[i], codes.filter((code) => code)));
  }
  return made;
}
