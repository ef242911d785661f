// Follows the server by a stream of events; polls every three seconds while there is no stream.
const ASK_MS = 3000;
const SELDOM_MS = 15_000; // polling of a hidden page, for its title and icon
const REST_MS = 5000; // a page hidden for longer closes its stream: browsers allow six per host
const SILENCE_MS = 25_000; // the server sends `ping` every 10 s; browsers do not notice a dead stream

const isPast = (moment, ms) => Date.now() - moment > ms;

// `address` gives the address of the stream, `heard` the handler of each event; `ask` polls, and fails
// when the server does not answer; `say` gets "live", "asking", "lost" or "over".
export class Live {
  constructor({ address, heard, ask, say }) {
    Object.assign(this, { address, heard: { open: () => say("live"), ping() {}, ...heard }, ask, say });
    this.ended = new AbortController();
    const { signal } = this.ended;
    addEventListener("offline", () => this.lost(), { signal });
    document.addEventListener("visibilitychange", () => this.turn(), { signal });
    document.addEventListener("keystone:gone", () => this.stop(), { signal });
    this.timer = setInterval(() => this.tick(), ASK_MS);
    this.turnedAt = this.askedAt = Date.now();
    this.open();
  }

  isOpen() {
    return this.stream.readyState === EventSource.OPEN;
  }

  open() {
    this.stream?.close();
    this.stream = new EventSource(this.address());
    this.heardAt = Date.now();
    for (const [name, act] of Object.entries(this.heard)) {
      this.stream.addEventListener(name, (event) => {
        this.heardAt = Date.now();
        act(event);
      });
    }
    this.stream.addEventListener("error", () => this.check());
  }

  tick() {
    if (document.hidden) return this.rest();
    if (isPast(this.heardAt, SILENCE_MS)) return this.lost();
    if (this.isOpen()) return;
    if (this.stream.readyState === EventSource.CLOSED) this.open();
    this.check();
  }

  turn() {
    this.turnedAt = Date.now();
    if (!document.hidden && !this.isOpen()) this.open();
  }

  rest() {
    if (isPast(this.turnedAt, REST_MS)) this.stream.close();
    if (isPast(this.askedAt, SELDOM_MS)) this.check();
  }

  lost() {
    this.stream.close();
    this.heardAt = Date.now();
    this.say("lost");
    this.check();
  }

  async check() {
    if (this.isAsking) return;
    this.isAsking = true;
    this.askedAt = Date.now();
    const how = await this.ask().then(() => "asking", () => "lost");
    this.isAsking = false;
    if (!this.isOpen() && !this.ended.signal.aborted) this.say(how);
  }

  stop() {
    this.say("over");
    this.ended.abort();
    this.stream.close();
    clearInterval(this.timer);
  }
}
