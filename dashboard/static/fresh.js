// Keeps a page up to date: loads it again and replaces the parts marked `data-live` that differ. Only
// the server knows the words and colours of a state.
import { get, problem } from "./actions.js";
import { Live } from "./live.js";

const PAUSE_MS = 1000; // the least time between two loads
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

// Leaves out the texts of times, which change without news.
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
  // New parts start closed, so that the content below does not move.
  fresh.querySelectorAll(KEPT).forEach((part, i) => Object.assign(part, kept[i] ?? { open: false }));
  if (!focused) return;
  // Focus only the same element again: a pressed key must not hit another one. An element without
  // an id or link, such as a scrolled list, is known by its position.
  const [before, now] = [old, fresh].map((part) => [...part.querySelectorAll(focused.localName)]);
  const name = ({ id, href }, place) => id || href || place;
  const wanted = name(focused, before.indexOf(focused));
  now.find((part, place) => name(part, place) === wanted)?.focus({ preventScroll: true });
}

// Gives the parts that were not replaced because the user is using them.
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

// Of two loads at once the later one is shown, whichever finishes first.
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

// Shows a problem in a reserved place, so that nothing moves.
function tell(...words) {
  document.querySelector(".lost").replaceChildren(...words);
}

// Throws when the server does not answer with a page of ours.
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

// Many changes at once cause only one more load.
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
  await null; // lets the caller set `looking` first
  while (wanted || behind.length) {
    if (wanted || !behind.some(isInUse)) {
      wanted = false;
      const error = await refresh().catch((each) => each);
      if (error?.isGone) return;
      wanted ||= Boolean(error); // retry
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
