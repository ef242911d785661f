// Keeps the end of a log in view: scrolling up pauses this, scrolling to the end resumes it.
export function watchTail(button, log, mayFollow = () => true) {
  const isOn = () => button.getAttribute("aria-pressed") === "true";
  const set = (on) => {
    button.setAttribute("aria-pressed", String(on));
    button.textContent = on ? "Following" : "Follow";
    if (on) log.scrollTop = log.scrollHeight;
  };
  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 24;
  button.addEventListener("click", () => set(!isOn()));
  log.addEventListener("scroll", () => mayFollow() && isOn() !== atEnd() && set(atEnd()));
  return { isOn, set, keepUp: () => isOn() && set(true) };
}
