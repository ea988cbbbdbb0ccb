// What this machine is asked, and what it answers.
//
// Must never ask any other machine: where only the leader can answer, that is said (NotLeader) and left to a person.

// The machine answered with an error of the API's table.
export class ApiError extends Error {
    constructor({ errorCode, message, cause, index }) {
        super(message);
        this.code = errorCode;
        this.cause = cause;
        this.index = index;
    }
}

// It answered with something else than was asked for.
export class BadAnswer extends Error {
    constructor(status, text) {
        super(text.trim());
        this.status = status;
    }
}

// It did not answer.
export class Unreachable extends Error {}

// It sent us to the leader, which this page can't follow to.
export class NotLeader extends Error {}

export const KEY_NOT_FOUND = 100;
export const COMPARE_FAILED = 101;
export const OUTDATED = 401;

const TIMEOUT_MILLISECONDS = 15000; // for everything but watches

async function ask(path, { method = "GET", form = null, signal = AbortSignal.timeout(TIMEOUT_MILLISECONDS) } = {}) {
    let response;
    let text;
    try {
        const body = form && new URLSearchParams(form);
        response = await fetch(`../../${path}`, { method, body, signal, cache: "no-store", redirect: "manual" });
        text = await response.text();
    } catch (error) {
        if (signal.aborted && signal.reason?.name === "AbortError") {
            throw signal.reason;
        }
        throw new Unreachable(error.message);
    }
    if (response.type === "opaqueredirect") {
        throw new NotLeader();
    }
    if (response.ok) {
        return { text, headers: response.headers };
    }
    throw refusal(response, text);
}

function refusal(response, text) {
    if (response.headers.get("Content-Type") === "application/json") {
        return new ApiError(JSON.parse(text));
    }
    return new BadAnswer(response.status, text);
}

// The cluster

export async function json(path) {
    return JSON.parse((await ask(path)).text);
}

export async function text(path) {
    return (await ask(path)).text;
}

// Keys

export function address(key) {
    return key.split("/").map(encodeURIComponent).join("/");
}

async function askKey(key, query, options) {
    const { text, headers } = await ask(`v2/keys${address(key)}${query}`, options);
    const event = text === "" ? null : JSON.parse(text);
    return {
        event,
        node: event?.node,
        index: Number(headers.get("X-Etcd-Index")),
    };
}

// A key as it is here; of a directory what is in it, in order.
export function read(key) {
    return askKey(key, "?sorted=true");
}

// The first change from an index on; its event is null when the machine had to give up waiting.
export function change(key, recursive, from, signal) {
    return askKey(key, `?wait=true&recursive=${recursive}&waitIndex=${from}`, { signal });
}

// A change. What it is comes from the form, as in the API.
export function put(key, form) {
    return askKey(key, "", { method: "PUT", form });
}

export function post(key, form) {
    return askKey(key, "", { method: "POST", form });
}

export function remove(key, conditions) {
    return askKey(key, `?${new URLSearchParams(conditions)}`, { method: "DELETE" });
}

// How many keys and directories a directory holds at any depth, and how many of them no listing shows.
export function count(key) {
    return json(`mod/dashboard/count?key=${encodeURIComponent(key)}`);
}

// Where a machine serves this page; null where its address, which is a key's value, is none of the web.
export function dashboard(machine, hash = "") {
    return /^https?:\/\//.test(machine.client) ? `${machine.client}/mod/dashboard/${hash}` : null;
}

// All machines: without a leader, those that this one knew last.
export async function machines() {
    const { members } = await json("v2/members");
    const listed = members.map(({ name, clientURLs: [client], peerURLs: [peer] }) => ({ name, client, peer }));
    return listed.sort((one, other) => one.name.localeCompare(other.name, "en", { numeric: true }));
}
