// Adds new parts of a `data-list` and removes old ones; other parts stay untouched. A part without
// a name is known by its element name.
const key = ({ dataset, localName }) => dataset.live ?? dataset.list ?? localName;

function arrange(list, fresh) {
  const parts = new Map([...list.children].map((part) => [key(part), part]));
  const wanted = [...fresh.children].map((part) => parts.get(key(part)) ?? part);
  for (const part of parts.values()) if (!wanted.includes(part)) part.remove();
  wanted.forEach((part, i) => part === list.children[i] || list.insertBefore(part, list.children[i]));
}

export function arrangeLists(page) {
  for (const fresh of page.querySelectorAll("[data-list]")) {
    const list = document.querySelector(`[data-list="${fresh.dataset.list}"]`);
    // A list may be new itself, inserted together with its parent.
    if (list && list !== fresh) arrange(list, fresh);
  }
}
