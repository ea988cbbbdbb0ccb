// Says what went wrong, in a sentence.
//
// Must never show a person only a number.

import { ApiError, BadAnswer, NotLeader, Unauthorized, Unreachable } from "./api.js";

const NO_LEADER = "The cluster has no leader at the moment.";

const OF_CODES = {
    100: (error) => `There is no key ${error.cause}.`,
    101: () => "Somebody else has changed it since this page read it.",
    102: (error) => `${error.cause} is a directory.`,
    104: (error) => `${error.cause} is a key, not a directory, so there is nothing in it.`,
    105: (error) => `${error.cause} exists already.`,
    107: () => "The root directory can't be changed.",
    108: (error) => `The directory ${error.cause} is not empty.`,
    202: () => "The number of seconds has to be a whole number that is not too large.",
    300: (error) => (/^no leader is known/.test(error.cause) ? NO_LEADER : `The cluster could not do that: ${error.cause}.`),
    301: () => NO_LEADER,
    401: () => "More has changed in the meantime than the machine remembers.",
};

export function sentence(error) {
    if (error instanceof ApiError) {
        const known = OF_CODES[error.code];
        return known ? known(error) : `The machine refused that: ${error.message} (${error.cause}).`;
    }
    if (error instanceof Unauthorized) {
        return error.user === null ? "Guests may not do that: log in first." : `The user ${error.user} may not do that.`;
    }
    if (error instanceof NotLeader) {
        return "This machine is not the leader, and only the leader can do that.";
    }
    if (error instanceof Unreachable) {
        return "The machine did not answer.";
    }
    if (error instanceof BadAnswer && error.status === 413) {
        return "That is longer than the machine accepts (--max-request-bytes).";
    }
    if (error instanceof BadAnswer) {
        return `The machine answered with status ${error.status}: ${error.message}.`;
    }
    throw error;
}
