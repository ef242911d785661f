// Follows the server by a stream of events; asks every three seconds while none gets through.
const ASK_MS = 3000;

// `address` is where the events come from, `heard` what is done with each kind of them; `ask` gives
// whether the server answered; `say` is told how the connection is: "live", "asking" or "lost".
export class Live {
  constructor({ address, heard, ask, say }) {
    Object.assign(this, { address, heard, ask, say, asking: false });
    this.open();
    this.timer = setInterval(() => this.isOpen() || this.tryAgain(), ASK_MS);
    this.isOffline = () => this.lost();
    addEventListener("offline", this.isOffline);
  }

  isOpen() {
    return this.stream.readyState === EventSource.OPEN;
  }

  open() {
    this.stream = new EventSource(this.address());
    this.stream.addEventListener("open", () => this.say("live"));
    this.stream.addEventListener("error", () => this.check());
    for (const [name, heard] of Object.entries(this.heard)) this.stream.addEventListener(name, heard);
  }

  tryAgain() {
    if (this.stream.readyState === EventSource.CLOSED) this.open();
    this.check();
  }

  lost() {
    this.stream.close();
    this.check();
  }

  async check() {
    if (this.asking || this.isStopped) return;
    this.asking = true;
    const isThere = await this.ask().catch(() => false);
    this.asking = false;
    if (!this.isOpen() && !this.isStopped) this.say(isThere ? "asking" : "lost");
  }

  stop() {
    this.isStopped = true;
    this.stream.close();
    clearInterval(this.timer);
    removeEventListener("offline", this.isOffline);
  }
}
