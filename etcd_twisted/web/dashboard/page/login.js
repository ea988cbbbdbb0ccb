// Logging in and out: the name of the user in the head of the page, and the dialog that asks for a password.
//
// Must never show a password, nor open the dialog unless a person has asked for something that guests may not do.

import * as api from "./api.js";
import { button, element, labelled, write } from "./dom.js";
import { sentence } from "./sentences.js";
import * as session from "./session.js";

export class Login {
    // It shows the user in "place", and calls "changed" when somebody has logged in.
    constructor(place, changed) {
        this.place = place;
        this.changed = changed;
        this.user = element("span", { class: "badge plain" });
        this.entering = button("Log in…", () => this.ask());
        this.leaving = button("Log out", () => this.leave());
        place.append(this.user, this.entering, this.leaving);
        this.name = element("input", { type: "text", autocomplete: "username", autocapitalize: "off", spellcheck: "false" });
        this.password = element("input", { type: "password", autocomplete: "current-password" });
        this.reason = element("p", { hidden: true });
        this.said = element("p", { class: "notice bad", role: "alert", hidden: true });
        this.confirm = element("button", { class: "main" }, "Log in");
        this.dialog = element(
            "dialog",
            { "aria-label": "Log in" },
            element(
                "form",
                { submit: (event) => this.submit(event) },
                element("h2", {}, "Log in"),
                this.reason,
                labelled("User", this.name),
                labelled("Password", this.password),
                this.said,
                element(
                    "div",
                    { class: "buttons" },
                    element("button", { type: "button", click: () => this.dialog.close() }, "Cancel"),
                    this.confirm,
                ),
            ),
        );
        document.body.append(this.dialog);
    }

    // Show who uses the page, if it matters to the machine.
    update(enabled) {
        const user = session.user();
        this.place.hidden = !enabled;
        write(this.user, user ?? "guest");
        this.entering.hidden = user !== null;
        this.leaving.hidden = user === null;
    }

    // A request of a person was refused. Guests can log in; a password that was right may have been changed.
    async refused() {
        const user = session.user();
        if (user === null) {
            this.ask("Guests may not do that.");
        } else if (await this.isWrong()) {
            session.end();
            this.update(true);
            this.ask(`The password of ${user} is not right any more.`);
        }
    }

    async isWrong() {
        try {
            await api.who(session.authorization());
            return false;
        } catch (error) {
            return error instanceof api.Unauthorized; // any other error says nothing about the password
        }
    }

    ask(reason = "") {
        if (this.dialog.open) {
            return;
        }
        write(this.reason, reason);
        this.reason.hidden = reason === "";
        this.password.value = "";
        this.complain("");
        this.dialog.showModal();
        (this.name.value === "" ? this.name : this.password).focus();
    }

    complain(text) {
        write(this.said, text);
        this.said.hidden = text === "";
    }

    async submit(event) {
        event.preventDefault();
        const header = session.basic(this.name.value, this.password.value);
        this.complain("");
        this.confirm.disabled = true;
        try {
            const { user } = await api.who(header);
            this.password.value = "";
            this.dialog.close();
            if (user !== "") { // users were disabled meanwhile: then everybody is a guest
                session.start(user, header);
                this.update(true);
            }
            this.changed();
        } catch (error) {
            this.complain(error instanceof api.Unauthorized ? "The name or the password is wrong." : sentence(error));
            this.password.select();
        } finally {
            this.confirm.disabled = false;
        }
    }

    // The page is loaded anew, so that nothing stays of what the user was shown.
    leave() {
        session.end();
        location.reload();
    }
}
