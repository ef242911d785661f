// Asks before a form is sent: fills the page's dialog with what the form is about; the dialog's own
// form is what is sent.
export function ask(form) {
  const dialog = document.getElementById(form.dataset.asks);
  for (const slot of dialog.querySelectorAll("[data-slot]")) slot.textContent = form.dataset[slot.dataset.slot];
  for (const field of form.querySelectorAll("[data-json]")) dialog.querySelector(`[name=${field.name}]`).value = field.value;
  dialog.querySelector("output").textContent = "";
  dialog.showModal();
}
