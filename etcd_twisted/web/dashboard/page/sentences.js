// What went wrong, in a sentence.
//
// Must never leave anyone with a number alone.

import { ApiError, BadAnswer, NotLeader, Unreachable } from "./api.js";

const OF_CODES = {
    100: (error) => `There is no key ${error.cause}.`,
    101: () => "Somebody has changed it since it was read here.",
    102: (error) => `${error.cause} is a directory.`,
    104: (error) => `${error.cause} is a key, so nothing can be in it.`,
    105: (error) => `There is already something at ${error.cause}.`,
    107: () => "The root itself can't be changed.",
    108: (error) => `The directory ${error.cause} is not empty.`,
    202: () => "The time to live has to be a whole number of seconds, and not too many.",
    300: (error) => `The cluster could not do it: ${error.cause}.`,
    301: () => "No machine leads at the moment.",
    401: () => "More has changed meanwhile than the machine remembers.",
};

export function sentence(error) {
    if (error instanceof ApiError) {
        const known = OF_CODES[error.code];
        return known ? known(error) : `The machine refused: ${error.message} (${error.cause}).`;
    }
    if (error instanceof NotLeader) {
        return "This machine does not lead, and only the leader can do that.";
    }
    if (error instanceof Unreachable) {
        return "The machine did not answer.";
    }
    if (error instanceof BadAnswer && error.status === 413) {
        return "That is longer than the machine takes (--max-request-bytes).";
    }
    if (error instanceof BadAnswer) {
        return `The machine answered with status ${error.status}: ${error.message}.`;
    }
    throw error;
}
