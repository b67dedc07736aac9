/** Whether a document or an entry is what was asked for. The only place that decides it (Q1). */
import { valueAtPath } from "../../api/records/index.ts";
import type { Json } from "../documents/json.ts";
import type { Comparison, Condition } from "./query.ts";
import { compareLike, isSame } from "./values.ts";

/** `id`: of an entry, its cursor; `atMs`: of an entry, its time. */
export type Subject = {
  readonly id: string;
  readonly body: Json;
  readonly atMs?: number;
  /** Where it stands in the order of documents, where ids alone do not say it. Default: the id. */
  readonly place?: string;
  /** What its row says beside id and body. */
  readonly beside?: Readonly<Record<string, string>>;
};
export type Predicate = (subject: Subject) => boolean;

/** At a hub: the cell that it is of, to ask by. */
export const cellField = "@cell";

/** As a field that is in no answer. */
export function nameCell(body: Json, cell: string): void {
  Object.defineProperty(body, cellField, { value: cell });
}

/** Compiled once, asked for each document. */
export function compile(condition: Condition | undefined): Predicate {
  if (!condition) return () => true;
  switch (condition.op) {
    case "and": {
      const all = condition.of.map(compile);
      return (subject) => all.every((holds) => holds(subject));
    }
    case "or": {
      const any = condition.of.map(compile);
      return (subject) => any.some((holds) => holds(subject));
    }
    case "not": {
      const holds = compile(condition.of);
      return (subject) => !holds(subject);
    }
    case "exists":
      return (subject) => valueAtPath(subject, condition.path) !== undefined;
    case "in":
      return (subject) => {
        const value = valueAtPath(subject, condition.path);
        return value !== undefined && condition.values.some((wanted) => isSame(value, wanted));
      };
    case "prefix":
      return (subject) => {
        const value = valueAtPath(subject, condition.path);
        return typeof value === "string" && value.startsWith(condition.value);
      };
    case "contains":
      return (subject) => {
        const value = valueAtPath(subject, condition.path);
        return Array.isArray(value) && value.some((element) => isSame(element, condition.value));
      };
    default: {
      const holds = comparing(condition.op);
      return (subject) => holds(valueAtPath(subject, condition.path), condition.value);
    }
  }
}

function comparing(op: Comparison): (value: Json | undefined, wanted: Json) => boolean {
  const ordered =
    (holds: (order: number) => boolean) => (value: Json | undefined, wanted: Json) => {
      const order = compareLike(value, wanted);
      return order !== undefined && holds(order);
    };
  switch (op) {
    case "=":
      return isSame;
    case "!=":
      return (value, wanted) => !isSame(value, wanted);
    case "<":
      return ordered((order) => order < 0);
    case "<=":
      return ordered((order) => order <= 0);
    case ">":
      return ordered((order) => order > 0);
    case ">=":
      return ordered((order) => order >= 0);
  }
}
