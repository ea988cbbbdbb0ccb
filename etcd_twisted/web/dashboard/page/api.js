// The requests to this machine, and its answers.
//
// Must never ask any other machine: where only the leader can answer, NotLeader says so, and the person decides.

// The machine answered with an error of the API's table.
export class ApiError extends Error {
    constructor({ errorCode, message, cause, index }) {
        super(message);
        this.code = errorCode;
        this.cause = cause;
        this.index = index;
    }
}

// It answered with something other than what the page asked for.
export class BadAnswer extends Error {
    constructor(status, text) {
        super(text.trim());
        this.status = status;
    }
}

// It did not answer.
export class Unreachable extends Error {}

// It redirected the page to the leader, where this page can't follow.
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

// A key in this machine's copy; for a directory, the sorted nodes in it.
export function read(key) {
    return askKey(key, "?sorted=true");
}

// The first change from an index on. Its event is null when the machine stopped waiting.
export function change(key, recursive, from, signal) {
    return askKey(key, `?wait=true&recursive=${recursive}&waitIndex=${from}`, { signal });
}

// Make a change. The form says which one, as in the API.
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

// The address of this page on another machine; null if the value that holds its address is not a web address.
export function dashboard(machine, hash = "") {
    return /^https?:\/\//.test(machine.client) ? `${machine.client}/mod/dashboard/${hash}` : null;
}

// All machines; without a leader, those that this machine knew last.
export async function machines() {
    const { members } = await json("v2/members");
    const listed = members.map(({ name, clientURLs: [client = ""], peerURLs: [peer] }) => ({ name, client, peer }));
    return listed.sort((one, other) => one.name.localeCompare(other.name, "en", { numeric: true }));
}
