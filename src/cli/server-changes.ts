/** Changes of the cell's servers, asked for over the cell's API and followed until they have an outcome. */
import type { ServerProgress, ServerVerb } from "../api/index.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Context } from "./context.ts";
import { callJson, type LocalApi } from "./local-api.ts";

export type ServerChange = {
  readonly verb: ServerVerb;
  readonly node: string;
  readonly by?: string;
};

export const serversPath = "/skerry/v1/servers";
const pollMs = 300;
/** The server that answers may restart its agent on the way. */
const silenceMsMax = 60_000;

/**
 * One after the other; what is new is told as it comes. Answers how each ended, in words. Throws
 * `change-refused`, or `change-failed` with what was reached so far kept.
 */
export async function changeServers(
  api: LocalApi,
  changes: readonly ServerChange[],
  context: Pick<Context, "clock" | "output">,
): Promise<readonly string[]> {
  const messages: string[] = [];
  for (const one of changes) {
    await callJson(api, serversPath, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(one),
    });
    const { outcome } = await follow(api, one, context);
    if (outcome?.state === "done") {
      messages.push(outcome.message);
      continue;
    }
    const words = {
      message: outcome?.message ?? `${one.verb} ${one.node} has no outcome`,
      ...(outcome?.hint === undefined ? {} : { hint: outcome.hint }),
    };
    throw outcome?.state === "refused"
      ? new SkerryError({ code: "change-refused", ...words })
      : new SkerryError({ code: "change-failed", ...words });
  }
  return messages;
}

async function follow(
  api: LocalApi,
  one: ServerChange,
  { clock, output }: Pick<Context, "clock" | "output">,
): Promise<ServerProgress> {
  let told = 0;
  let heardMs = clock.monotonicMs();
  for (;;) {
    try {
      const progress = await callJson<ServerProgress>(api, `${serversPath}/changes/${one.node}`);
      heardMs = clock.monotonicMs();
      for (const line of progress.lines.slice(told)) output.note(`${one.node}: ${line}`);
      told = Math.max(told, progress.lines.length);
      if (progress.outcome) return progress;
    } catch (error) {
      const passes = error instanceof SkerryError && error.retryable;
      if (!passes || clock.monotonicMs() - heardMs > silenceMsMax) throw error;
    }
    await clock.sleep(pollMs);
  }
}
