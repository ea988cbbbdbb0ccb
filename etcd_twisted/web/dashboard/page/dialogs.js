// Dialogs that ask before something happens: whether to delete, and what to create.
//
// Must never change anything before a person has confirmed it, nor create a key that exists already.

import * as api from "./api.js";
import { element, grouped, labelled, write } from "./dom.js";
import { LifetimeField } from "./lifetime.js";
import { sentence } from "./sentences.js";
import { clean, segments } from "./tree.js";

// Ask, and say whether the person confirmed it.
export function confirmed(question, consequence, yes) {
    const dialog = element(
        "dialog",
        { "aria-label": question },
        element(
            "form",
            { method: "dialog" },
            element("h2", {}, question),
            element("p", {}, consequence),
            element(
                "div",
                { class: "buttons" },
                element("button", { value: "no", autofocus: true }, "Cancel"),
                element("button", { value: "yes", class: "danger" }, yes),
            ),
        ),
    );
    document.body.append(dialog);
    dialog.showModal();
    return new Promise((answered) => {
        dialog.addEventListener("close", () => {
            dialog.remove();
            answered(dialog.returnValue === "yes");
        });
    });
}

const KEY = "key";
const IN_ORDER = "in order";
const DIRECTORY = "directory";

export class CreateDialog {
    // It calls "created" with the new node.
    constructor(created) {
        this.created = created;
        this.heading = element("h2");
        this.kind = element(
            "select",
            { change: () => this.arrange() },
            element("option", { value: KEY }, "key"),
            element("option", { value: IN_ORDER }, "key with a generated name, in order"),
            element("option", { value: DIRECTORY }, "directory"),
        );
        this.name = element("input", { type: "text", autocomplete: "off", autocapitalize: "off", spellcheck: "false" });
        this.value = element("textarea", { rows: "4", spellcheck: "false" });
        this.lifetime = new LifetimeField();
        this.said = element("p", { class: "notice bad", role: "alert", hidden: true });
        this.nameField = labelled("Name", this.name);
        this.valueField = labelled("Value", this.value);
        this.dialog = element(
            "dialog",
            { "aria-label": "Create" },
            element(
                "form",
                { submit: (event) => this.submit(event) },
                this.heading,
                labelled("Type", this.kind),
                this.nameField,
                this.valueField,
                grouped("Expires", this.lifetime.element),
                this.said,
                element(
                    "div",
                    { class: "buttons" },
                    element("button", { type: "button", click: () => this.dialog.close() }, "Cancel"),
                    element("button", { class: "main" }, "Create"),
                ),
            ),
        );
        document.body.append(this.dialog);
    }

    // Ask what to create in a directory; a name may be suggested.
    open(directory, name = "") {
        this.directory = directory;
        write(this.heading, `Create in ${directory}`);
        this.kind.value = KEY;
        this.name.value = name;
        this.value.value = "";
        this.lifetime.show(null);
        this.complain(null);
        this.arrange();
        this.dialog.showModal();
        (name === "" ? this.name : this.value).focus();
    }

    arrange() {
        this.nameField.hidden = this.kind.value === IN_ORDER;
        this.valueField.hidden = this.kind.value === DIRECTORY;
    }

    complain(text) {
        this.said.hidden = text === null;
        write(this.said, text ?? "");
    }

    async submit(event) {
        event.preventDefault();
        if (this.kind.value !== IN_ORDER && segments(this.name.value).length === 0) {
            this.complain("Enter a name.");
            this.name.focus();
            return;
        }
        try {
            const { node } = await this.send();
            this.dialog.close();
            this.created(node);
        } catch (error) {
            this.complain(sentence(error));
        }
    }

    send() {
        const form = this.kind.value === DIRECTORY ? { dir: "true" } : { value: this.value.value };
        if (this.lifetime.ttl !== null) {
            form.ttl = this.lifetime.ttl;
        }
        if (this.kind.value === IN_ORDER) {
            return api.post(this.directory, form);
        }
        return api.put(clean(`${this.directory}/${this.name.value}`), { ...form, prevExist: "false" });
    }
}
