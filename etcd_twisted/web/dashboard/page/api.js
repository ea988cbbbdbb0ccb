// The requests to this machine, and its answers.
//
// Must never ask any other machine: where only the leader can answer, NotLeader says so, and the person decides.

import * as session from "./session.js";

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

// The user may not do that, or the password is wrong.
export class Unauthorized extends Error {
    constructor() {
        super("unauthorized");
        this.user = session.user();
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

let refused = () => {};

// Have a function called whenever something is refused that a person has asked for.
export function whenRefused(listener) {
    refused = listener;
}

async function ask(path, { method = "GET", form = null, signal = null, authorization = session.authorization() } = {}) {
    const ending = signal ?? AbortSignal.timeout(TIMEOUT_MILLISECONDS);
    let response;
    let text;
    try {
        const body = form && new URLSearchParams(form);
        const headers = authorization === null ? {} : { Authorization: authorization };
        const how = { method, body, headers, signal: ending, cache: "no-store", redirect: "manual" };
        response = await fetch(`../../${path}`, how);
        text = await response.text();
    } catch (error) {
        if (ending.aborted && ending.reason?.name === "AbortError") {
            throw ending.reason;
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
    if (response.status === 401) {
        return new Unauthorized();
    }
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

// Who a request with this header comes from.
export async function who(authorization) {
    return JSON.parse((await ask("mod/dashboard/user", { authorization })).text);
}

// Ask for what a person wants.
async function asked(answering) {
    try {
        return await answering;
    } catch (error) {
        if (error instanceof Unauthorized) {
            refused();
        }
        throw error;
    }
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

// The same, because a person wants to see it.
export function show(key) {
    return asked(read(key));
}

// The first change from an index on. Its event is null when the machine stopped waiting.
export function change(key, recursive, from, signal) {
    return askKey(key, `?wait=true&recursive=${recursive}&waitIndex=${from}`, { signal });
}

// Make a change. The form says which one, as in the API.
export function put(key, form) {
    return asked(askKey(key, "", { method: "PUT", form }));
}

export function post(key, form) {
    return asked(askKey(key, "", { method: "POST", form }));
}

export function remove(key, conditions) {
    return asked(askKey(key, `?${new URLSearchParams(conditions)}`, { method: "DELETE" }));
}

// How many keys and directories a directory holds at any depth, and how many of them no listing shows.
export function count(key) {
    return asked(json(`mod/dashboard/count?key=${encodeURIComponent(key)}`));
}

// The address of this page on another machine; null if the value that holds its address is not a web address.
export function dashboard(machine, hash = "") {
    return /^https?:\/\//.test(machine.client) ? `${machine.client}/mod/dashboard/${hash}` : null;
}

// All machines; without a leader, those that this machine knew last.
export async function machines() {
    const { members } = await json("v2/members");
    const listed = members.map(({ id, name, clientURLs, peerURLs }) => {
        return { id, name, client: clientURLs[0] ?? "", peer: peerURLs[0] };
    });
    return listed.sort((one, other) => one.name.localeCompare(other.name, "en", { numeric: true }));
}
