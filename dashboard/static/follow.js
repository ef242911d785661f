// A deployment's page while it runs: its log and its state as they come, by events, or by asking
// every three seconds where events cannot get through.
import { toLogin } from "./actions.js";
import { refresh } from "./fresh.js";
import { Log } from "./log.js";
import { watchTail } from "./tail.js";

const POLL_MS = 3000;
const EVENT_FAILURES = 3;

const isDone = () => document.querySelector("[data-done]").dataset.done === "yes";

function watchTools(box, log) {
  const [follow, wrap] = ["follow", "wrap"].map((name) => box.querySelector(`[data-tool="${name}"]`));
  const tail = watchTail(follow, log, () => !isDone());
  follow.hidden = isDone();
  wrap.hidden = false;
  tail.set(!isDone() && !location.hash);
  // What went wrong is said last.
  if (box.dataset.openAt === "end" && !location.hash) log.scrollTop = log.scrollHeight;
  wrap.addEventListener("click", () => wrap.setAttribute("aria-pressed", String(!log.classList.toggle("nowrap"))));
  return { keepUp: tail.keepUp, stop: () => (follow.hidden = true) };
}

export function followDeployment() {
  const id = document.querySelector("main").dataset.deployment;
  if (!id) return;
  const box = document.querySelector(".logbox");
  const log = new Log(box);
  const tools = watchTools(box, log.lines);
  if (!isDone()) new Follower(id, log, tools, box.querySelector(".link-state")).begin();
}

class Follower {
  constructor(id, log, tools, linkState) {
    Object.assign(this, { id, log, tools, linkState, failures: 0, refreshing: null });
  }

  say(words, isGood = false) {
    this.linkState.textContent = words;
    this.linkState.classList.toggle("on", isGood);
  }

  begin() {
    if (!window.EventSource) return this.poll();
    const events = new EventSource(`/api/deployments/${this.id}/events?offset=${this.log.offset}`);
    this.events = events;
    events.addEventListener("open", () => {
      this.failures = 0;
      this.say("Live", true);
    });
    events.addEventListener("log", (event) => this.add(event.data, Number(event.lastEventId)));
    events.addEventListener("state", () => this.redraw());
    events.addEventListener("error", () => this.lost());
  }

  add(text, end) {
    this.log.add(text, end);
    this.tools.keepUp();
  }

  // Many changes at once cost one more look, not many.
  redraw() {
    this.again = true;
    this.refreshing ??= this.redrawAll().finally(() => (this.refreshing = null));
    return this.refreshing;
  }

  async redrawAll() {
    while (this.again) {
      this.again = false;
      await refresh("?lines=0").catch(() => false);
    }
  }

  async lost() {
    const isClosed = this.events.readyState === EventSource.CLOSED;
    await this.redraw();
    if (isDone()) {
      this.events.close();
      return this.poll(); // what was written last may have come after the last event
    }
    this.failures += 1;
    this.say("Connection lost, trying again…");
    if (isClosed || this.failures >= EVENT_FAILURES) {
      this.events.close();
      this.poll();
    }
  }

  async poll() {
    const wasDone = isDone();
    const isThere = (await this.askLog().catch(() => false)) && (await refresh("?lines=0").catch(() => false));
    if (wasDone && isThere) return this.end();
    this.say(isThere ? "Updated every 3 s" : "Connection lost, trying again…", isThere);
    setTimeout(() => this.poll(), POLL_MS);
  }

  async askLog() {
    const answer = await fetch(`/api/deployments/${this.id}/logs?offset=${this.log.offset}`);
    if (answer.status === 401) return toLogin();
    if (answer.status === 404 || answer.status === 416) return true; // nothing is written yet
    if (!answer.ok) return false;
    const bytes = new Uint8Array(await answer.arrayBuffer());
    const whole = bytes.slice(0, bytes.lastIndexOf(10) + 1);
    this.add(new TextDecoder().decode(whole), this.log.offset + whole.length);
    return true;
  }

  end() {
    this.say("");
    this.tools.stop();
  }
}
