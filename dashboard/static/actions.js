// Buttons that ask the receiver for a change: JSON by POST, with the CSRF token of the page.

const token = () => document.querySelector('meta[name="csrf-token"]')?.content ?? "";

export function toLogin() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}

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

export async function sentence(answer) {
  const said = await answer.json().catch(() => null);
  return said?.error?.message ?? `The server answered ${answer.status}; try again.`;
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
  say("");
  try {
    await send(form, say);
  } catch {
    say("The server cannot be reached; nothing was changed.", true);
  } finally {
    button.disabled = false;
  }
}

// One listener on the page, so that forms which are drawn anew keep working.
export function watchActions() {
  document.addEventListener("submit", submitted);
}
