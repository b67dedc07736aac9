/**
 * `soak-collect.entry PORT LIMIT_MS`: the debugger's part, run on the machine whose process it is. Prints what is
 * alive in the heaps of all threads afterwards as JSON, an `Alive`. The protocol is Chrome's (HeapProfiler,
 * Runtime), with Node's own domain for threads (NodeWorker).
 */
import { systemClock } from "../../runtime/clock/index.ts";
import type { Alive } from "./soak-collect.ts";

type Message = {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly message: string };
};

const [, , port, limitMs] = process.argv;
const answerWithinMs = Number(limitMs);
/** Bytes in the spaces where V8 keeps machine code and, as objects it trusts, bytecode (v8.getHeapSpaceStatistics). */
const codeExpression = `process.getBuiltinModule("node:v8").getHeapSpaceStatistics()
  .filter(({ space_name }) => /code|trusted/.test(space_name))
  .reduce((total, { space_used_size }) => total + space_used_size, 0)`;

const targets = (await (
  await fetch(`http://127.0.0.1:${port}/json/list`, { signal: AbortSignal.timeout(answerWithinMs) })
).json()) as readonly { readonly webSocketDebuggerUrl: string }[];
const socket = new WebSocket(targets[0]?.webSocketDebuggerUrl ?? "");
const waiting = new Map<string, (message: Message | undefined) => void>();
const threads: string[] = [];
/** Threads that come and go: one may end after it was told of. */
const ended = new Set<string>();
/** Which thread a message of the main one is carried to. */
const carriedTo = new Map<number, string>();
/** What a thread refused with: while it ends it still answers, that it has no context any more. Its end excuses it, nothing else. */
const refused = new Map<string, string>();
let nextId = 0;

const limit = systemClock.after(answerWithinMs, () =>
  fail(
    [`no answer in time: ${[...waiting.keys()].join(", ")} of ${threads.length} threads`]
      .concat(Array.from(refused, ([thread, text]) => `thread ${thread} refused: ${text}`))
      .join("; "),
  ),
);

function fail(text: string): never {
  process.stderr.write(`${text}\n`);
  process.exit(1);
}

/** `thread` is the session of one, or "" for the main one. */
function settle(thread: string, message: Message): void {
  const asked = thread || (carriedTo.get(message.id ?? -1) ?? "");
  if (thread === "") carriedTo.delete(message.id ?? -1);
  if (message.error && asked === "") fail(message.error.message);
  if (message.error) return void refused.set(asked, message.error.message);
  const key = `${thread}/${message.id}`;
  waiting.get(key)?.(message);
  waiting.delete(key);
}

/** Nothing of what it was asked will be answered. */
function end(thread: string): void {
  ended.add(thread);
  refused.delete(thread);
  for (const [key, answer] of waiting) {
    if (!key.startsWith(`${thread}/`)) continue;
    waiting.delete(key);
    answer(undefined);
  }
}

/** Undefined: the thread has ended. */
function ask(thread: string, method: string, params: object = {}): Promise<Message | undefined> {
  if (ended.has(thread)) return Promise.resolve(undefined);
  const id = nextId++;
  const answer = new Promise<Message | undefined>((resolve) =>
    waiting.set(`${thread}/${id}`, resolve),
  );
  const text = JSON.stringify({ id, method, params });
  if (thread === "") socket.send(text);
  else {
    carriedTo.set(nextId, thread);
    void ask("", "NodeWorker.sendMessageToWorker", { sessionId: thread, message: text });
  }
  return answer;
}

socket.addEventListener("message", ({ data }) => {
  const message = JSON.parse(String(data)) as Message;
  const session = String(message.params?.["sessionId"]);
  if (message.method === "NodeWorker.attachedToWorker") threads.push(session);
  else if (message.method === "NodeWorker.detachedFromWorker") end(session);
  else if (message.method === "NodeWorker.receivedMessageFromWorker") {
    const inner = JSON.parse(String(message.params?.["message"])) as Message;
    if (inner.id !== undefined) settle(session, inner);
  } else if (message.id !== undefined) settle("", message);
});
socket.addEventListener("close", () => fail("the inspector closed"));
socket.addEventListener("error", () => fail("the inspector cannot be reached"));
await new Promise((resolve) => socket.addEventListener("open", resolve, { once: true }));

// Its answer comes after every thread that runs has been told of.
await ask("", "NodeWorker.enable", { waitForDebuggerOnStart: false });
const alive = { dataBytes: 0, codeBytes: 0 };
for (const thread of ["", ...threads]) {
  await ask(thread, "HeapProfiler.collectGarbage");
  const code = await ask(thread, "Runtime.evaluate", {
    expression: codeExpression,
    returnByValue: true,
  });
  const heap = await ask(thread, "Runtime.getHeapUsage");
  if (!code || !heap) continue;
  const codeBytes = Number(
    (code.result?.["result"] as { readonly value?: unknown } | undefined)?.value,
  );
  if (!Number.isSafeInteger(codeBytes)) fail(`no spaces of code in ${JSON.stringify(code)}`);
  for (const part of ["usedSize", "embedderHeapUsedSize", "backingStorageSize"])
    alive.dataBytes += Number(heap.result?.[part] ?? 0);
  alive.dataBytes -= codeBytes;
  alive.codeBytes += codeBytes;
}
limit.cancel();
process.stdout.write(`${JSON.stringify(alive satisfies Alive)}\n`, () => process.exit(0));
