// Keeps a page as the server would draw it now: the page is asked for again and the parts marked
// `data-live` are exchanged. What the words and colours of a state are, only the server knows.
import { get } from "./actions.js";
import { Live } from "./live.js";

const PAUSE_MS = 1000; // between two looks, however much happens
const drawn = new Map(); // what the server last drew, by part

function isInUse(region) {
  const [focused, selection] = [document.activeElement, getSelection()];
  const isMarked = !selection.isCollapsed && region.contains(selection.anchorNode);
  const isTyping = region.contains(focused) && focused.matches("input, textarea, select");
  return isMarked || isTyping || region.querySelector("form[data-busy]") || region.closest("form[data-busy]");
}

// Times go on by themselves, so that one more second is no news.
function picture(region) {
  const copy = region.cloneNode(true);
  for (const time of copy.querySelectorAll("time")) time.replaceWith(time.dateTime);
  for (const time of copy.querySelectorAll("[data-since]")) time.textContent = "";
  return copy.outerHTML;
}
for (const region of document.querySelectorAll("[data-live]")) drawn.set(region.dataset.live, picture(region));

function exchange(old, fresh) {
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const again = focused?.closest("form")?.id;
  // What nobody has opened stays closed: nothing below is to move.
  const opened = [...old.querySelectorAll("details")];
  fresh.querySelectorAll("details").forEach((each, i) => (each.open = opened[i]?.open ?? false));
  old.replaceWith(fresh);
  // Only ever back to the same button: a key that is being pressed must not hit another one.
  if (focused?.id) fresh.querySelector(`#${CSS.escape(focused.id)}`)?.focus();
  else if (again) fresh.querySelector(`#${CSS.escape(again)} button`)?.focus();
  else if (focused?.href) [...fresh.querySelectorAll("a")].find((link) => link.href === focused.href)?.focus();
}

// Gives true once the server has answered; an answer that is no page of ours throws. Of two that
// were asked for at once the later one is shown, whichever comes first.
let asked = 0;
let shown = 0;
export async function refresh() {
  const turn = ++asked;
  const isLog = "deployment" in document.querySelector("main").dataset;
  const answer = await get(location.pathname + (isLog ? "?lines=0" : location.search));
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (turn < shown) return true;
  shown = turn;
  document.title = fresh.title;
  const [icon, wanted] = [document, fresh].map((page) => page.querySelector('link[rel="icon"]'));
  if (!icon.isEqualNode(wanted)) icon.setAttribute("href", wanted.getAttribute("href"));
  for (const region of fresh.querySelectorAll("[data-live]")) {
    const name = region.dataset.live;
    const old = document.querySelector(`[data-live="${CSS.escape(name)}"]`);
    const now = picture(region);
    if (!old || isInUse(old) || drawn.get(name) === now) continue;
    drawn.set(name, now);
    exchange(old, document.adoptNode(region));
  }
  document.dispatchEvent(new Event("keystone:fresh"));
  return true;
}

// Many changes at once cost one more look, not many.
let wanted = false;
let looking = null;
export function refreshSoon() {
  wanted = true;
  looking ??= look().finally(() => (looking = null));
  return looking;
}

async function look() {
  while (wanted) {
    wanted = false;
    if (document.querySelector("dialog[open]")) return;
    const isThere = await refresh().catch(() => false);
    wanted ||= !isThere; // what was missed is still to be seen
    await new Promise((done) => setTimeout(done, isThere ? PAUSE_MS : 3 * PAUSE_MS));
  }
}

// Says so while the server is out of reach; in its own place, so that nothing moves.
export function sayLost(state) {
  const words = state === "lost" ? "Connection lost, trying again…" : "";
  const line = document.querySelector(".lost");
  if (line.textContent !== words) line.textContent = words;
}

// A page that nobody looks at gives its connection back: a browser has six of them for all tabs.
export function followEverything() {
  const begin = () => new Live({ address: () => "/api/events", heard: { changed: refreshSoon }, ask: refresh, say: sayLost });
  let live = document.hidden ? null : begin();
  document.addEventListener("visibilitychange", () => {
    live?.stop();
    live = document.hidden ? null : begin();
  });
}

export function keepFresh() {
  document.addEventListener("keystone:changed", refreshSoon);
  if (document.querySelector("main[data-refresh]")) followEverything();
}
