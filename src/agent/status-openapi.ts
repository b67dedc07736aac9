/** What the gateway's OpenAPI document says of `GET /v1/status`: what scripts may count on. */
import { anything, answer, count, list, object, text } from "../lib/openapi.ts";

const node = object(
  {
    name: text,
    role: { enum: ["server", "worker"] },
    address: text,
    verdict: { ...anything, description: "What the others think of it." },
    report: { ...anything, description: "What it says itself; absent when it did not answer." },
  },
  ["name", "role", "address", "verdict"],
);
const workload = object({ kind: text, namespace: text, name: text, ready: count, desired: count }, [
  "kind",
  "namespace",
  "name",
  "ready",
  "desired",
]);

export const statusDescription = {
  summary: "The cell as this node sees it, as skerry status --json prints it",
  responses: {
    200: answer(
      "Nodes, workloads, and what it all means.",
      object(
        {
          cell: text,
          seenFrom: text,
          nodes: list(node),
          workloads: list(workload),
          pods: list(anything),
          words: { ...list(text), description: "What it all means, most important first." },
          ledger: anything,
          reach: anything,
          promises: object({ kept: list(text), suspended: list(text) }, ["kept", "suspended"]),
        },
        ["cell", "seenFrom", "nodes", "workloads", "pods", "words", "promises"],
      ),
    ),
  },
};
