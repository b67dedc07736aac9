/** Server-sent events, as far as gateways use them. */
import { linesOf } from "./caller.ts";

export type ServerEvent = { readonly id: string; readonly event: string; readonly data: string };

/** `onHeard`: something came, if only a sign of life. */
export async function* eventsOf(
  answer: Response,
  onHeard?: () => void,
): AsyncIterable<ServerEvent> {
  let fields: Record<string, string> = {};
  for await (const line of linesOf(answer, onHeard)) {
    const colon = line.indexOf(":");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
    if (line !== "") continue;
    const { id = "", event = "message", data } = fields;
    fields = {};
    if (data !== undefined) yield { id, event, data };
  }
}
