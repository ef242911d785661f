// Ages and running times, formatted like in dashboard/labels.py, and exact times in local time.

export function duration(seconds) {
  if (seconds < 9.95) return `${Math.max(seconds, 0).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

const DAY = new Intl.DateTimeFormat("sv", { dateStyle: "short" }); // Swedish dates are ISO 8601

export function age(moment, now) {
  const seconds = Math.trunc((now - moment) / 1000);
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 30 * 86400) return `${Math.floor(seconds / 86400)} d ago`;
  return DAY.format(moment);
}

// Puts the local time before the server's UTC time in the title.
const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
function localise(time) {
  time.isLocal = true;
  time.title = `${EXACT.format(new Date(time.dateTime))} (${time.title})`;
}

// The local time of a line; one formatter for all lines, because making one is slow.
const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
export function localClock(time) {
  time.textContent = CLOCK.format(new Date(time.dateTime));
  time.title = time.dateTime;
}

function tick() {
  const now = Date.now();
  for (const time of document.querySelectorAll("time[data-age]")) {
    if (!time.isLocal) localise(time);
    const words = age(Date.parse(time.dateTime), now);
    if (time.textContent !== words) time.textContent = words;
  }
  for (const running of document.querySelectorAll("[data-since]")) {
    running.textContent = duration(Math.max(0, Math.round((now - Date.parse(running.dataset.since)) / 1000)));
  }
}

export function tickTimes() {
  tick();
  setInterval(tick, 1000);
}
