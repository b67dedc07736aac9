/** What the ingress itself answers: which status an error gets, and how it is counted. */
import { SkerryError } from "../../../lib/errors.ts";
import { httpErrorOf } from "../../../runtime/http-error/index.ts";
import type { RefusalReason } from "./counts.ts";

const statusByCode: Readonly<Record<string, number>> = {
  "request-timeout": 408,
  "no-route": 404,
  starting: 503,
  "no-endpoint": 503,
  "ingress-busy": 503,
  "ingress-overloaded": 503,
  "backend-unreachable": 503,
  "backend-failed": 502,
  "backend-timeout": 504,
};

const reasonByCode: Readonly<Record<string, RefusalReason>> = {
  "request-timeout": "body-timeout",
  "body-too-large": "body-too-large",
  "invalid-request": "ambiguous",
  "ingress-busy": "busy",
  "ingress-overloaded": "overloaded",
};

/** Undefined for what is no fault of the client, nor of too many of them. */
export const refusalReasonOf = ({ code }: SkerryError): RefusalReason | undefined =>
  reasonByCode[code];

export function statusOf(error: unknown): { status: number; error: SkerryError } {
  const { status, body } = httpErrorOf(error);
  const known = error instanceof SkerryError ? error : new SkerryError(body.error);
  return { status: statusByCode[known.code] ?? status, error: known };
}

/** A 404 would be believed: by caches, by clients that then do not try again. */
export const starting = () =>
  new SkerryError({
    code: "starting",
    message: "this node does not know its routes yet",
    hint: "it has just started; try again in a second, or another node",
    retryable: true,
  });

export const noEndpoint = (backend: string) =>
  new SkerryError({
    code: "no-endpoint",
    message: `no pod of ${backend} is ready`,
    hint: "kubectl get pods shows why",
    retryable: true,
  });

export const busy = (underWayMax: number) =>
  new SkerryError({
    code: "ingress-busy",
    message: `${underWayMax} requests are under way on this node`,
    hint: "try again, or another node",
    retryable: true,
  });

export const overloaded = () =>
  new SkerryError({
    code: "ingress-overloaded",
    message: "more is asked of this node's ingress than it can answer",
    hint: "the request was sent to no pod; try again, or another node",
    retryable: true,
  });
