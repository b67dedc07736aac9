/** A thread that answers, fails, falls silent and dies on request. */
import { SkerryError } from "../../src/lib/errors.ts";
import { serveThread, threadData } from "../../src/runtime/thread/index.ts";

export type TestThreadMethods = {
  echo: (value: unknown) => unknown;
  fail: (kind: "skerry" | "plain" | "text") => never;
  unclonable: () => unknown;
  say: (count: number) => void;
  hang: () => Promise<never>;
  exit: (code: number) => void;
  crash: () => void;
};
export type TestThreadEvents = { said: { n: number } };

const data = threadData<{ refuseToStart?: boolean }>();
if (data.refuseToStart) {
  throw new SkerryError({
    code: "store-damaged",
    message: "cannot start",
    hint: "move it away",
    retryable: true,
  });
}

const methods: TestThreadMethods = {
  echo: (value) => value,
  fail(kind) {
    if (kind === "text") throw "just text";
    if (kind === "plain") throw new TypeError("plain");
    throw new SkerryError({
      code: "disk-full",
      message: "no space",
      hint: "free some",
      retryable: true,
      details: { bytes: 7 },
      cause: new Error("inner"),
    });
  },
  unclonable: () => () => "a function",
  say(count) {
    for (let n = 0; n < count; n++) host.emit("said", { n });
  },
  hang: () => new Promise<never>(() => {}),
  exit: (code) => process.exit(code),
  crash: () =>
    void setImmediate(() => {
      throw new Error("unexpected");
    }),
};
const host = serveThread<TestThreadEvents>(methods);
