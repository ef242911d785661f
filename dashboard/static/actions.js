// Requests to the receiver. Buttons send changes as JSON, with the CSRF token of the page.

const PATIENCE_MS = 10_000;

const token = () => document.querySelector('meta[name="csrf-token"]')?.content ?? "";
const impatient = (options) => ({ ...options, signal: AbortSignal.timeout(PATIENCE_MS) });

export function toLogin() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search + location.hash)}`);
}

// Our error answers are JSON, or a page with the problem as its title; a proxy may answer otherwise.
async function refusal(answer) {
  const text = await answer.text();
  const [, page] = text.match(/<title>(.+) · Keystone</) ?? [];
  const words = page ? `${page}.` : text.startsWith("{") && JSON.parse(text).error?.message;
  return Object.assign(new Error(words || `The server answered ${answer.status}.`), { isGone: page && answer.status === 404 });
}

// Gives the answer, or throws an error with a message for the user; redirects strangers to the login.
export async function get(address) {
  const answer = await fetch(address, impatient({ cache: "no-store" }));
  if (answer.status === 401 || (answer.redirected && new URL(answer.url).pathname === "/login")) toLogin();
  else if (answer.ok) return answer;
  throw await refusal(answer);
}

const isUnanswered = ({ name }) => name === "TypeError" || name === "TimeoutError";
export const problem = (error) => (isUnanswered(error) ? "The server cannot be reached." : error.message);

// The token is sent as a header; the field is for forms sent without JavaScript.
function body(form) {
  const fields = [...form.elements].filter(({ name, value }) => name && name !== "csrf_token" && value.trim());
  const value = (field) => ("json" in field.dataset ? JSON.parse(field.value) : field.value);
  return JSON.stringify(Object.fromEntries(fields.map((field) => [field.name, value(field)])));
}

function sayIn(form, words, isBad = false) {
  const output = form.querySelector("output");
  output.textContent = words;
  output.classList.toggle("bad", isBad);
}

async function send(form) {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": token() };
  const answer = await fetch(form.dataset.action, impatient({ method: form.dataset.method, headers, body: body(form) }));
  if (answer.status === 401) return toLogin();
  if (!answer.ok) throw await refusal(answer);
  if (form.dataset.then === "stay") {
    sayIn(form, answer.status === 202 ? "Asked for; this page follows." : "Done.");
    return document.dispatchEvent(new Event("keystone:changed"));
  }
  const { id } = await answer.json();
  sayIn(form, "Queued.");
  location.assign(`/deployments/${id}`);
}

// Blocks a second submit, which would discard the first one's answer and a secret shown only once.
// Only for a while: a user who stops the loading can submit again.
let leftAt = -Infinity;
function leave(event) {
  if (event.timeStamp - leftAt < PATIENCE_MS) event.preventDefault();
  else leftAt = event.timeStamp;
}

async function submitted(event) {
  const form = event.target;
  if (form.matches('[method="post"]:not([data-action])')) return leave(event);
  if (!form.dataset.action || event.submitter?.formMethod === "dialog") return;
  event.preventDefault();
  const button = event.submitter ?? form.querySelector("button");
  if (button.disabled) return;
  if (form.dataset.asks) return (await import("./question.js")).ask(form);
  button.disabled = true;
  form.dataset.busy = "";
  sayIn(form, "");
  try {
    await send(form);
  } catch (error) {
    // The change may have been made; sending it twice is harmless.
    sayIn(form, isUnanswered(error) ? `${problem(error)} Try again once it can.` : error.message, true);
  } finally {
    button.disabled = false;
    delete form.dataset.busy;
  }
}

// A disabled button can still be focused and pressed; it then says why it is disabled.
function pressed({ target }) {
  const button = target.closest("[aria-disabled=true]");
  if (button) sayIn(button.form, document.getElementById(button.getAttribute("aria-describedby")).textContent);
}

// Listeners on the document, so that redrawn forms keep working.
export function watchActions() {
  document.addEventListener("submit", submitted);
  document.addEventListener("click", pressed);
  addEventListener("pageshow", ({ persisted }) => persisted && (leftAt = -Infinity));
}
