/** From the API's answers (`Status` objects) back to outcomes and errors. */
import { isObject, type JsonObject } from "../patch/values.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { WriteRefusal } from "../resources.ts";

export type Answer = {
  readonly code: number;
  readonly body: unknown;
  /** Texts of `Warning: 299` headers. */
  readonly warnings: readonly string[];
};

type Status = {
  readonly reason: string;
  readonly message: string;
  readonly causes: readonly { reason?: string; field?: string; message: string }[];
};

export function statusOf(body: unknown, code: number): Status {
  const status: JsonObject = isObject(body) ? body : {};
  const details: JsonObject = isObject(status["details"]) ? status["details"] : {};
  const causes = Array.isArray(details["causes"]) ? details["causes"].filter(isObject) : [];
  const text = (value: unknown) => (typeof value === "string" ? value : undefined);
  return {
    reason: text(status["reason"]) ?? "",
    message: text(status["message"]) ?? `the server answered ${code}`,
    causes: causes.map((cause) => ({
      reason: text(cause["reason"]),
      field: text(cause["field"]),
      message: text(cause["message"]) ?? "",
    })),
  };
}

const refusals: Readonly<Record<number, WriteRefusal["reason"]>> = {
  400: "invalid",
  403: "forbidden",
  404: "not-found",
  409: "conflict",
  410: "gone",
  413: "invalid",
  422: "invalid",
};

/** Undefined when the answer refuses nothing that the caller could mend. */
export function refusalOf({ body, code }: Answer): WriteRefusal | undefined {
  const reason = refusals[code];
  if (reason === undefined) return undefined;
  const status = statusOf(body, code);
  const causes = status.causes.flatMap(({ field, message }) =>
    field === undefined ? [] : [{ field, message }],
  );
  return {
    state: "refused",
    reason: status.reason === "AlreadyExists" ? "exists" : reason,
    message: status.message,
    ...(causes.length > 0 ? { causes } : {}),
  };
}

/** What a read throws. Codes of the server's own errors come back as they were. */
export function errorOf({ body, code }: Pick<Answer, "body" | "code">): SkerryError {
  const { message, causes } = statusOf(body, code);
  const own = causes.find(
    ({ reason }) => reason !== undefined && /^[a-z]+(-[a-z]+)+$|^compacted$/.test(reason),
  );
  if (own?.reason && code < 500)
    return new SkerryError({ code: own.reason, message, hint: own.message || undefined });
  if (code === 410) return new SkerryError({ code: "compacted", message, hint: "list again" });
  if (code === 401) {
    return new SkerryError({
      code: "unauthenticated",
      message,
      hint: "this node's certificate was not accepted: see `skerry doctor`",
    });
  }
  if (code === 403) return new SkerryError({ code: "forbidden", message });
  if (code >= 500 || code === 429) return unavailable(message);
  return new SkerryError({ code: "request-refused", message });
}

export function unavailable(message: string, cause?: unknown): SkerryError {
  return new SkerryError({
    code: "ledger-unavailable",
    message,
    hint: "workloads and local data go on; desired state can be read and changed again when a server of the cell is back",
    retryable: true,
    cause,
  });
}

export function warningsOf(header: string | string[] | undefined): string[] {
  const texts = header === undefined ? [] : [header].flat();
  return texts.flatMap((text) =>
    [...text.matchAll(/\b299 \S+ "((?:[^"\\]|\\.)*)"/g)].map((match) =>
      (match[1] ?? "").replaceAll(/\\(.)/g, "$1"),
    ),
  );
}
