// The filter above a long list of apps.
export function watchFilter() {
  const field = document.querySelector("input[data-filter]");
  if (!field) return;
  const nothing = document.querySelector(".empty-filter");
  const apply = () => {
    const wanted = field.value.trim().toLowerCase();
    const cards = [...document.querySelectorAll(field.dataset.filter)];
    for (const card of cards) card.hidden = !card.textContent.toLowerCase().includes(wanted);
    nothing.hidden = cards.some((card) => !card.hidden);
  };
  field.hidden = false;
  field.addEventListener("input", apply);
  document.addEventListener("keystone:fresh", apply);
}
