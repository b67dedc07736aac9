/** A process that dials and then answers: the parent stops it to see whether that is noticed. */
import type { Credentials, Trust } from "../../src/identity/index.ts";
import { createRouter, dial } from "../../src/transport/index.ts";
import { testDeps, testLimits } from "./transport.ts";

type Start = { port: number; credentials: Credentials; trust: Trust };

process.once("message", (start: Start) => {
  dial(testDeps, {
    address: { host: "127.0.0.1", port: start.port },
    expect: start.trust.trustDomain,
    credentials: () => start.credentials,
    trusts: () => [start.trust],
    router: createRouter(),
    limits: testLimits,
    backoff: { initialMs: 20, maxMs: 100 },
  });
});
