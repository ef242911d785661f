// In a `data-list` what is new comes and what is gone goes; what stays is not touched. A part that
// has no name there is the only one of its kind.
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
    // One that came with what is around it is there already.
    if (list && list !== fresh) arrange(list, fresh);
  }
}
