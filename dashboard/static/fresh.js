// Keeps a page as the server would draw it now: the page is asked for again, and the parts marked
// `data-live` are exchanged. What the words and colours of a state are, only the server knows.
import { get, problem } from "./actions.js";
import { Live } from "./live.js";

const PAUSE_MS = 1000; // between two looks, however much happens
const IN_HEAD = ["title", 'link[rel="icon"]', 'meta[name="csrf-token"]'];
const KEPT = "details, ul, ol, pre"; // what may be open or scrolled

const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const main = document.querySelector("main");

export function isMarked(region) {
  const selection = getSelection();
  return !selection.isCollapsed && region.contains(selection.anchorNode);
}

function isInUse(region) {
  const isTyping = region.contains(document.activeElement) && document.activeElement.matches("input, textarea, select");
  return region.open || isMarked(region) || isTyping || region.querySelector("[data-busy]") || region.closest("[data-busy]");
}

// Times go on by themselves, so that one more second is no news.
function picture(region) {
  const copy = region.cloneNode(true);
  for (const time of copy.querySelectorAll("time")) time.replaceWith(time.dateTime);
  for (const time of copy.querySelectorAll("[data-since]")) time.textContent = "";
  return copy.outerHTML;
}

function regionsOf(page) {
  const regions = [...page.querySelectorAll("[data-live]")];
  for (const region of regions) region.drawn = picture(region);
  return regions;
}
regionsOf(document);

export function exchange(old, fresh) {
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const kept = [...old.querySelectorAll(KEPT)].map(({ open, scrollTop }) => ({ open, scrollTop }));
  old.replaceWith(fresh);
  // What nobody has opened stays closed: nothing below is to move.
  fresh.querySelectorAll(KEPT).forEach((part, i) => Object.assign(part, kept[i] ?? { open: false }));
  if (!focused) return;
  // Only ever back to the same button: a key that is being pressed must not hit another one. What
  // has no name, like a list that is scrolled, is known by its place.
  const [before, now] = [old, fresh].map((part) => [...part.querySelectorAll(focused.localName)]);
  const name = ({ id, href }, place) => id || href || place;
  const wanted = name(focused, before.indexOf(focused));
  now.find((part, place) => name(part, place) === wanted)?.focus({ preventScroll: true });
}

// Gives the parts that stay behind, since somebody is at them.
function draw(regions) {
  const behind = [];
  for (const region of regions) {
    const old = document.querySelector(`[data-live="${CSS.escape(region.dataset.live)}"]`);
    if (!old || old.drawn === region.drawn) continue;
    if (isInUse(old)) behind.push(old);
    else exchange(old, region);
  }
  return behind;
}

// Of two looks at once the later one is shown, whichever comes first.
let asked = 0;
let shown = 0;
let behind = [];
async function lookOnce() {
  const turn = ++asked;
  const answer = await get(location.pathname + (main.dataset.deployment ? "?lines=0" : location.search));
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const lists = main.dataset.list && (await import("./arrange.js"));
  if (turn < shown) return;
  shown = turn;
  for (const part of IN_HEAD) {
    const [old, now] = [document, fresh].map((page) => page.querySelector(part));
    if (now && !now.isEqualNode(old)) old?.replaceWith(now);
  }
  const question = document.querySelector("dialog[open]");
  if (question) return (behind = [question]);
  const regions = regionsOf(fresh);
  lists?.arrangeLists(fresh);
  behind = draw(regions);
}

// Says what is wrong in a place of its own, so that nothing moves.
function tell(...words) {
  document.querySelector(".lost").replaceChildren(...words);
}

// Fails when the server does not answer with a page of ours.
export async function refresh() {
  try {
    await lookOnce();
  } catch (error) {
    if (error.isGone) {
      tell(document.getElementById("gone").content);
      document.dispatchEvent(new Event("keystone:gone"));
    } else tell(`${problem(error)} Trying again…`);
    throw error;
  }
  tell();
  keepLooking();
}

// Many changes at once cost one more look, not many.
let wanted = false;
let looking = null;
export function refreshSoon() {
  wanted = true;
  keepLooking();
}

function keepLooking() {
  looking ??= look().finally(() => (looking = null));
}

async function look() {
  await null; // so that `looking` is set, however short this is
  while (wanted || behind.length) {
    if (wanted || !behind.some(isInUse)) {
      wanted = false;
      const error = await refresh().catch((each) => each);
      if (error?.isGone) return;
      wanted ||= Boolean(error); // what was missed is still to be seen
      if (error) await wait(2 * PAUSE_MS);
    }
    await wait(PAUSE_MS);
  }
}

export function followEverything() {
  const say = (how) => how === "lost" && tell("The server cannot be reached. Trying again…");
  new Live({ address: () => "/api/events", heard: { changed: refreshSoon }, ask: refresh, say });
}

export function keepFresh() {
  document.addEventListener("keystone:changed", refreshSoon);
  if ("refresh" in main.dataset) followEverything();
}
