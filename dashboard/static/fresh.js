// Keeps a page as the server would draw it now: the page is asked for again and the parts marked
// `data-live` are exchanged. What the words and colours of a state are, only the server knows.
import { toLogin } from "./actions.js";

function isInUse(region) {
  const focused = document.activeElement;
  return region.contains(focused) && focused.matches("input, textarea, select");
}

function exchange(old, fresh) {
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const again = focused?.closest("form")?.id;
  old.replaceWith(fresh);
  // Only ever back to the same button: a key that is being pressed must not hit another one.
  if (again) fresh.querySelector(`#${CSS.escape(again)} button`)?.focus();
  else if (focused?.href) [...fresh.querySelectorAll("a")].find((link) => link.href === focused.href)?.focus();
}

// Gives whether the server answered; an answer that is no page of ours changes nothing.
export async function refresh(query = "") {
  const answer = await fetch(location.pathname + (query || location.search), { cache: "no-store" });
  if (answer.redirected && new URL(answer.url).pathname === "/login") {
    toLogin();
    return true;
  }
  if (!answer.ok) return false;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.title = fresh.title;
  const [icon, wanted] = [document, fresh].map((page) => page.querySelector('link[rel="icon"]'));
  if (!icon.isEqualNode(wanted)) icon.setAttribute("href", wanted.getAttribute("href"));
  for (const region of fresh.querySelectorAll("[data-live]")) {
    const old = document.querySelector(`[data-live="${CSS.escape(region.dataset.live)}"]`);
    if (old && !isInUse(old)) exchange(old, document.adoptNode(region));
  }
  document.dispatchEvent(new Event("keystone:fresh"));
  return true;
}

// Pages of lists ask again every few seconds, but not while nobody looks or a question is open.
export function keepFresh() {
  const seconds = Number(document.querySelector("main").dataset.refresh);
  if (!seconds) return;
  let asking = false;
  const ask = async () => {
    if (asking || document.hidden || document.querySelector("dialog[open]")) return;
    asking = true;
    await refresh().catch(() => false);
    asking = false;
  };
  setInterval(ask, seconds * 1000);
  document.addEventListener("visibilitychange", ask);
  document.addEventListener("keystone:changed", ask);
}
