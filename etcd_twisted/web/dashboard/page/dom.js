// Functions that make the elements of the page.
//
// Must never turn text into markup: the value of a key is shown, never run.

const SVG = "http://www.w3.org/2000/svg";

// Make an element. A property that is a function listens to the event of that name; null and false leave one out.
export function element(tag, properties = {}, ...children) {
    return furnish(document.createElement(tag), properties, children);
}

// Make an element of a picture.
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

// Set a text if it is a different one, so that nothing is announced again, and no selection lost, for nothing.
export function write(place, text) {
    if (place.textContent !== text) {
        place.textContent = text;
    }
}

export function button(words, click = null, kind = null) {
    return element("button", { type: click ? "button" : "submit", class: kind, click }, words);
}

let labels = 0;

// A field with its label above it.
export function labelled(text, field) {
    field.id ||= `field${(labels += 1)}`;
    return element("div", { class: "field" }, element("label", { for: field.id }, text), field);
}

// Several fields with labels of their own, and a label for all of them.
export function grouped(text, fields) {
    return element("div", { class: "field" }, element("span", { class: "label" }, text), fields);
}
