/** From answers to HTTP: the table at the top of docs/coordination.md. */
import { SkerryError } from "../../../lib/errors.ts";
import { httpErrorOf, type HttpError } from "../../../runtime/http/index.ts";
import type { CoordinationAnswer, Refusal } from "../coordination.ts";

export type HttpAnswer = {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: unknown;
};

const statusByCode: Readonly<Record<string, number>> = {
  "session-unknown": 404,
};

/** `unknown` must not be answered with a status that clients and proxies repeat by themselves. */
const unknownStatus = 504;

export function answerOf(answer: CoordinationAnswer): HttpAnswer {
  switch (answer.state) {
    case "description":
      return { status: 200, body: answer.description };
    case "item":
      return itemAnswer(answer);
    case "items": {
      const { revision, items } = answer;
      return { status: 200, headers: seen(revision), body: { revision, items } };
    }
    case "page": {
      const { revision, epoch, more, items } = answer;
      return { status: 200, headers: seen(revision), body: { revision, epoch, more, items } };
    }
    case "holder": {
      const { revision, holder } = answer;
      return { status: 200, headers: seen(revision), body: { revision, holder } };
    }
    case "done":
      return { status: 200, headers: seen(answer.revision), body: answer };
    case "refused":
      return { status: 412, headers: seen(answer.revision), body: refusalBody(answer) };
    case "unknown":
      return {
        status: unknownStatus,
        body: {
          state: "unknown",
          error: {
            code: "outcome-unknown",
            message: `this write may have happened, or may still happen: ${answer.cause.message}`,
            hint: "read and compare before anything is sent again",
            retryable: false,
          },
        },
      };
  }
}

export function errorAnswer(error: unknown): HttpAnswer {
  const { status, body } = httpErrorOf(error);
  const { code, retryable } = body.error;
  const headers: Record<string, string> = retryable ? { "retry-after": "1" } : {};
  // What a quota says of itself is the application's own.
  const details =
    error instanceof SkerryError && code === "quota-exceeded" ? { details: error.details } : {};
  return {
    status: statusByCode[code] ?? status,
    headers,
    body: { error: { ...body.error, ...details } } satisfies HttpError,
  };
}

function itemAnswer({ revision, item }: CoordinationAnswer & { state: "item" }): HttpAnswer {
  if (!item) {
    const error = { code: "key-unknown", message: "there is no such key", retryable: false };
    return { status: 404, headers: seen(revision), body: { revision, error } };
  }
  return {
    status: 200,
    headers: {
      ...seen(revision),
      "content-type": "application/octet-stream",
      etag: `"${item.modRevision}"`,
      "skerry-created": String(item.createRevision),
      "skerry-version": String(item.version),
      ...(item.session === undefined ? {} : { "skerry-session": item.session }),
    },
    body: Buffer.from(item.value, "base64"),
  };
}

function refusalBody({ code, message, revision, current }: Refusal) {
  const hint = {
    "condition-failed": "current is what stands there; decide anew from it",
    "fence-lost": "stop what the lock protected; it is another's now",
    "lock-held": "try again, or wait longer with waitMs",
    "not-held": "nothing is left to give back",
  }[code];
  return { state: "refused", revision, current, error: { code, message, hint, retryable: false } };
}

const seen = (revision: number | undefined): Record<string, string> =>
  revision === undefined ? {} : { "skerry-revision": String(revision) };
