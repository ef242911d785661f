// Buttons that ask the receiver for a change: JSON by POST, with the CSRF token of the page.

const token = () => document.querySelector('meta[name="csrf-token"]')?.content ?? "";

export function toLogin() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}

// The token goes into a header; the field is for a form that is sent without JavaScript.
function body(form) {
  const given = new FormData(form);
  given.delete("csrf_token");
  return JSON.stringify(Object.fromEntries([...given].filter(([, value]) => value.trim())));
}

async function sentence(answer) {
  const said = await answer.json().catch(() => null);
  return said?.error?.message ?? `The server answered ${answer.status}; try again.`;
}

async function send(form, say) {
  const answer = await fetch(form.dataset.action, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": token() },
    body: body(form),
  });
  if (answer.status === 401) return toLogin();
  if (!answer.ok) return say(await sentence(answer), true);
  if (form.dataset.then === "stay") return say("Asked for; this page follows.");
  const { id } = await answer.json();
  say("Queued.");
  location.assign(`/deployments/${id}`);
}

async function submitted(event) {
  const form = event.target.closest("form[data-action]");
  if (!form) return;
  event.preventDefault();
  const button = form.querySelector("button");
  if (button.disabled) return;
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
