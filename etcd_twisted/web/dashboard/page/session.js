// Who uses this page: the user whose name and password go along with its requests.
//
// Must never keep a password for longer than the tab is open, nor anywhere but in it.

const STORED = "etcd_twisted.session";

let current = restored();
let waiting = [];

// What is kept while the page is loaded anew. A browser that stores nothing for it has its person log in again.
function restored() {
    const stored = storage()?.getItem(STORED);
    return stored ? JSON.parse(stored) : null;
}

function storage() {
    try {
        return sessionStorage;
    } catch (error) {
        if (error instanceof DOMException && error.name === "SecurityError") {
            return null;
        }
        throw error;
    }
}

// The user's name; null for a guest.
export function user() {
    return current?.user ?? null;
}

// The header that requests have; null for none.
export function authorization() {
    return current?.authorization ?? null;
}

// The header for a name and a password, by Basic authentication.
export function basic(name, password) {
    const bytes = new TextEncoder().encode(`${name}:${password}`);
    return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}

export function start(name, header) {
    current = { user: name, authorization: header };
    storage()?.setItem(STORED, JSON.stringify(current));
    tell();
}

export function end() {
    current = null;
    storage()?.removeItem(STORED);
    tell();
}

// Wait until somebody logs in or out.
export function changed() {
    return new Promise((told) => waiting.push(told));
}

function tell() {
    const told = waiting;
    waiting = [];
    told.forEach((each) => each());
}
