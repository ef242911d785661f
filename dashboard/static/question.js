// Asks for confirmation: fills the page's dialog with the form's data; the dialog's own form is then
// sent instead.
export function ask(form) {
  const dialog = document.getElementById(form.dataset.asks);
  for (const slot of dialog.querySelectorAll("[data-slot]")) slot.textContent = form.dataset[slot.dataset.slot];
  for (const field of form.querySelectorAll("[data-json]")) dialog.querySelector(`[name=${field.name}]`).value = field.value;
  dialog.querySelector("output").textContent = "";
  dialog.showModal();
}
