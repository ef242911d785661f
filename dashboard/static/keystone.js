// The script of every page; loads the modules that only some pages need.
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
