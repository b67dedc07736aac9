/** Options that stand in the query of a request, checked by name. Pure. */
import { parseFieldSelector, parseLabelSelector } from "../api/index.ts";
import type { ListOptions, WriteOptions } from "../resources/index.ts";
import type { Exchange } from "./exchange.ts";
import type { ResourceRoute } from "./route.ts";
import { badRequest } from "./status.ts";

/** A whole number from 0; undefined when absent or empty. Throws StatusError naming `name`. */
export function countOf(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null || text === "") return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) {
    throw badRequest(`${name}: "${text}" is not a whole number from 0`, [
      { field: name, message: `"${text}" is not a whole number from 0` },
    ]);
  }
  return value;
}

/** Namespace, selectors and page of a list or watch. */
export function selectionOf(exchange: Exchange, route: ResourceRoute): ListOptions {
  const { query, signal } = exchange;
  const labelSelector = query.get("labelSelector") || undefined;
  const byName = route.name === undefined ? undefined : `metadata.name=${route.name}`;
  const fields = [query.get("fieldSelector"), byName].filter((part) => part);
  const fieldSelector = fields.length > 0 ? fields.join(",") : undefined;
  // Checked here as well, so that a watch can refuse before its answer has begun.
  if (labelSelector !== undefined) parseLabelSelector(labelSelector);
  if (fieldSelector !== undefined) parseFieldSelector(fieldSelector);
  return { namespace: route.namespace, labelSelector, fieldSelector, signal };
}

export function pageOf(query: URLSearchParams): Pick<ListOptions, "limit" | "continueToken"> {
  return {
    limit: countOf(query, "limit") || undefined,
    continueToken: query.get("continue") || undefined,
  };
}

const dryRunAll = "All";

/** Throws StatusError for a dryRun other than `All`. */
export function writeOptionsOf(
  exchange: Exchange,
  bodyDryRun: readonly unknown[] = [],
): WriteOptions & { readonly fieldManager: string } {
  const { query, request, signal } = exchange;
  const dryRuns = [...query.getAll("dryRun").filter((value) => value !== ""), ...bodyDryRun];
  const odd = dryRuns.find((value) => value !== dryRunAll);
  if (odd !== undefined) {
    throw badRequest(`dryRun: "${String(odd)}" is not supported, only "${dryRunAll}" is`);
  }
  return {
    fieldManager: query.get("fieldManager") || managerOf(request.headers["user-agent"]),
    ...(dryRuns.length > 0 ? { dryRun: true } : {}),
    signal,
  };
}

const managerCharactersMax = 128;

/** `kubectl/v1.32.4 (linux/amd64)` to `kubectl`, as Kubernetes does. */
function managerOf(userAgent: string | undefined): string {
  const name = (userAgent ?? "").split("/", 1)[0]?.replace(/[^\x20-\x7e]/g, "") ?? "";
  return name.slice(0, managerCharactersMax) || "unknown";
}

export type FieldValidation = "Strict" | "Warn" | "Ignore";

export function fieldValidationOf(query: URLSearchParams): FieldValidation {
  const text = query.get("fieldValidation") || "Warn";
  if (text === "Strict" || text === "Warn" || text === "Ignore") return text;
  throw badRequest(`fieldValidation: "${text}" is none of Strict, Warn, Ignore`);
}
