// The title of the window: what is shown, and before that what is wrong.
//
// Must never be set elsewhere.

import { write } from "./dom.js";

const place = document.querySelector("title");
const parts = { problem: "", view: "" };

// Change a part: "view" is what is shown, "problem" what is wrong, empty for nothing.
export function title(changed) {
    Object.assign(parts, changed);
    const { problem, view } = parts;
    write(place, [problem && `⚠ ${problem}`, view, "etcd_twisted"].filter((part) => part !== "").join(" · "));
}
