// The title of the window: what is wrong, and what is shown.
//
// No other module may set the title.

import { write } from "./dom.js";

const place = document.querySelector("title");
const parts = { problem: "", view: "" };

// Change a part of it: "view" is what is shown, "problem" is what is wrong, or empty.
export function title(changed) {
    Object.assign(parts, changed);
    const { problem, view } = parts;
    write(place, [problem && `⚠ ${problem}`, view, "etcd_twisted"].filter((part) => part !== "").join(" · "));
}
