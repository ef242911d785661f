// What every page gets; what only some need is loaded when they are there.
import { watchActions } from "./actions.js";
import { keepFresh } from "./fresh.js";
import { tickTimes } from "./times.js";

const PARTS = {
  dialog: "./question.js",
  "[data-container]": "./container.js",
  "[data-deployment]": "./deployment.js",
};

watchActions();
tickTimes();
keepFresh();
for (const [mark, part] of Object.entries(PARTS)) if (document.querySelector(mark)) import(part);
