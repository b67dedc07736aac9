/** Queries over the gateway, page by page as they are read. */
import type { QueryAnswer } from "../api/records/index.ts";
import { bodyOf, type Call } from "./caller.ts";

const pageRows = 500;
/** As many as a node answers. */
export const groupsMax = 1000;

/** Rows of all pages; no page is asked for before its first row is. */
export async function* pagesOf<Row>(
  call: Call,
  path: string,
  { limit = Infinity, signal, ...request }: { limit?: number; signal?: AbortSignal },
): AsyncIterable<Row> {
  for (let left = limit, cursor: string | undefined; left > 0;) {
    const page: QueryAnswer<Row> = await ask(
      call,
      path,
      { ...request, limit: Math.min(left, pageRows), ...(cursor === undefined ? {} : { cursor }) },
      signal,
    );
    yield* page.rows;
    left -= page.rows.length;
    if (page.cursor === undefined) return;
    ({ cursor } = page);
  }
}

/** One page. */
export async function ask<Row>(
  call: Call,
  path: string,
  request: object,
  signal?: AbortSignal,
): Promise<QueryAnswer<Row>> {
  const answer = await call(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(request),
    ...(signal && { signal }),
  });
  return await bodyOf<QueryAnswer<Row>>(answer, signal);
}
