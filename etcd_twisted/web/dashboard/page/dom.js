// Elements of the page, made one by one.
//
// Must never make markup of text: what a key holds is shown, never run.

const SVG = "http://www.w3.org/2000/svg";

// An element. Properties that are functions listen to the event of their name; null and false leave one out.
export function element(tag, properties = {}, ...children) {
    return furnish(document.createElement(tag), properties, children);
}

// The same in a picture.
export function shape(tag, properties = {}, ...children) {
    return furnish(document.createElementNS(SVG, tag), properties, children);
}

function furnish(made, properties, children) {
    for (const [name, value] of Object.entries(properties)) {
        if (typeof value === "function") {
            made.addEventListener(name, value);
        } else if (value !== null && value !== false) {
            made.setAttribute(name, value === true ? "" : value);
        }
    }
    made.append(...children.filter((child) => child !== null));
    return made;
}

// Set a text, but only if it is another one: nothing is to be announced or selected anew for nothing.
export function write(place, text) {
    if (place.textContent !== text) {
        place.textContent = text;
    }
}

export function button(words, click = null, kind = null) {
    return element("button", { type: click ? "button" : "submit", class: kind, click }, words);
}

let labels = 0;

// A field and what it is called, above it.
export function labelled(text, field) {
    field.id ||= `field${(labels += 1)}`;
    return element("div", { class: "field" }, element("label", { for: field.id }, text), field);
}

// Several fields that say themselves what they are, and what they are together.
export function grouped(text, fields) {
    return element("div", { class: "field" }, element("span", { class: "label" }, text), fields);
}
