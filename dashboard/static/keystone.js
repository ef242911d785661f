// What every page gets. Each module does one thing and leaves a page it is not for alone.
import { watchActions } from "./actions.js";
import { watchContainer } from "./container.js";
import { watchFilter } from "./filter.js";
import { followDeployment } from "./follow.js";
import { keepFresh } from "./fresh.js";
import { tickTimes } from "./times.js";

watchActions();
watchContainer();
watchFilter();
tickTimes();
keepFresh();
followDeployment();
