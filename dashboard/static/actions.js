// What pages ask of the receiver. Buttons ask for a change: JSON, with the CSRF token of the page.

const token = () => document.querySelector('meta[name="csrf-token"]')?.content ?? "";

export function toLogin() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search + location.hash)}`);
}

async function sentence(answer) {
  const said = await answer.json().catch(() => null);
  return said?.error?.message ?? `The server answered ${answer.status}; try again.`;
}

// Gives the answer, or throws what to tell; whoever is not let in any more is led to the login.
export async function get(address) {
  const answer = await fetch(address, { cache: "no-store" });
  if (answer.status === 401 || (answer.redirected && new URL(answer.url).pathname === "/login")) toLogin();
  else if (answer.ok) return answer;
  throw new Error(await sentence(answer));
}

export const problem = (error) => (error instanceof TypeError ? "The server cannot be reached." : error.message);

// The token goes into a header; the field is for a form that is sent without JavaScript.
function body(form) {
  const fields = [...form.elements].filter(({ name, value }) => name && name !== "csrf_token" && value.trim());
  const value = (field) => ("json" in field.dataset ? JSON.parse(field.value) : field.value);
  return JSON.stringify(Object.fromEntries(fields.map((field) => [field.name, value(field)])));
}

// Fills the page's dialog with what the form is about; the dialog's own form is what is sent.
function ask(form) {
  const dialog = document.getElementById(form.dataset.asks);
  for (const slot of dialog.querySelectorAll("[data-slot]")) slot.textContent = form.dataset[slot.dataset.slot];
  for (const field of form.querySelectorAll("[data-json]")) dialog.querySelector(`[name=${field.name}]`).value = field.value;
  dialog.querySelector("output").textContent = "";
  dialog.showModal();
}

async function send(form, say) {
  const answer = await fetch(form.dataset.action, {
    method: form.dataset.method,
    headers: { "Content-Type": "application/json", "X-CSRF-Token": token() },
    body: body(form),
  });
  if (answer.status === 401) return toLogin();
  if (!answer.ok) return say(await sentence(answer), true);
  if (form.dataset.then === "stay") {
    say(answer.status === 202 ? "Asked for; this page follows." : "Done.");
    return document.dispatchEvent(new Event("keystone:changed"));
  }
  const { id } = await answer.json();
  say("Queued.");
  location.assign(`/deployments/${id}`);
}

async function submitted(event) {
  const form = event.target.closest("form[data-action]");
  if (!form || event.submitter?.formMethod === "dialog") return;
  event.preventDefault();
  const button = event.submitter ?? form.querySelector("button");
  if (button.disabled) return;
  if (form.dataset.asks) return ask(form);
  const output = form.querySelector("output");
  const say = (words, bad = false) => {
    output.textContent = words;
    output.classList.toggle("bad", bad);
  };
  button.disabled = true;
  form.dataset.busy = "";
  say("");
  try {
    await send(form, say);
  } catch {
    say("The server cannot be reached, so nothing was changed. Try again.", true);
  } finally {
    button.disabled = false;
    delete form.dataset.busy;
  }
}

// One listener on the page, so that forms which are drawn anew keep working.
export function watchActions() {
  document.addEventListener("submit", submitted);
}
