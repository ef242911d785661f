// A deployment's page: its log, and live updates while it runs.
import { get } from "./actions.js";
import { exchange, followEverything, isMarked, refresh, refreshSoon } from "./fresh.js";
import { Live } from "./live.js";
import { Log } from "./log.js";
import { watchTail } from "./tail.js";

const RANGE = /^#L(\d+)(?:-L(\d+))?$/;
const WORDS = { live: "Live", asking: "Updated every 3 s", lost: "Connection lost, trying again…" };

const { deployment } = document.querySelector("main").dataset;
const box = document.querySelector(".logbox");
const state = box.querySelector(".link-state");
const tool = (name) => box.querySelector(`[data-tool="${name}"]`);
const isDone = () => document.querySelector("[data-done]").dataset.done === "yes";
const log = new Log(box, deployment);
const tail = watchTail(tool("follow"), log.view, () => !isDone());
log.view.addEventListener("keystone:lines", tail.keepUp);

// Lines have fragments: #L120, and #L10-L20 after a click with Shift.
function pick(hash, goThere) {
  const [, from, to = from] = hash.match(RANGE) ?? [];
  if (!from) return;
  const ends = [Number(from), Number(to)].sort((a, b) => a - b);
  log.pick(...ends);
  if (!goThere) return;
  tail.set(false);
  log.reveal(ends[0]);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#L"]');
  if (!link || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const [, before] = event.shiftKey ? (location.hash.match(RANGE) ?? []) : [];
  const hash = before ? `#L${before}-${link.hash.slice(1)}` : link.hash;
  history.replaceState(null, "", hash);
  pick(hash, !log.view.contains(link));
});
addEventListener("hashchange", () => pick(location.hash, true));

// Display options of the log, stored for all pages.
function watchToggle(name, byDefault) {
  const key = `keystone:${name}`;
  const draw = () => {
    const on = localStorage.getItem(key) ?? byDefault;
    tool(name).setAttribute("aria-pressed", on);
    log.view.classList.toggle(`no-${name}`, on === "false");
  };
  draw();
  tool(name).addEventListener("click", ({ target }) => {
    localStorage.setItem(key, target.ariaPressed !== "true");
    draw();
  });
}

function say(how) {
  state.textContent = WORDS[how] ?? "";
  state.classList.toggle("on", how === "live" || how === "asking");
}

function drawBuild(html) {
  const panel = document.querySelector('[data-live="build"]');
  const fresh = panel.cloneNode();
  fresh.innerHTML = html;
  if (fresh.isEqualNode(panel)) return;
  if (isMarked(panel)) refreshSoon(); // this waits for the end of the selection
  else exchange(panel, fresh);
}

// Each answer has a limited number of lines, so ask until the end.
async function askLines() {
  for (let isWhole = false; !isWhole; ) {
    const answer = await get(`/deployments/${deployment}/lines?first=${log.total + 1}`);
    const [html, end] = [await answer.text(), Number(answer.headers.get("X-Next-Offset"))];
    log.add(html, end);
    isWhole = !html || end > 0;
  }
}

function follow() {
  const live = new Live({
    address: () => `/api/deployments/${deployment}/events?lines=html&offset=${log.offset}`,
    heard: {
      log: (event) => log.add(event.data, Number(event.lastEventId)),
      build: (event) => drawBuild(event.data),
      state: refreshSoon,
    },
    ask: async () => {
      const wasDone = isDone();
      await refresh();
      await askLines();
      if (wasDone) end(live);
    },
    say,
  });
}

// The last lines may come after the last event; the caller has asked for them before.
function end(live) {
  live.stop();
  tool("follow").hidden = true;
  followEverything();
}

watchToggle("wrap", "true");
watchToggle("times", String(innerWidth > 720));
const find = box.querySelector(".find");
find.addEventListener("focusin", () => import("./search.js").then(({ Search }) => new Search(find, log)), { once: true });
if (location.hash) pick(location.hash, true);
else if (!isDone()) tail.set(true);
else if ("openAt" in box.dataset) log.view.scrollTop = log.view.scrollHeight; // the failure is at the end
if (isDone()) followEverything();
else follow();
