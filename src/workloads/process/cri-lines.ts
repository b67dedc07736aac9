/** CRI log lines (`TIME STREAM F|P text`) back into what a person reads: pure. */

export type CriOptions = { readonly sinceMs?: number; readonly timestamps?: boolean };

export interface CriReader {
  /** The text of the whole lines in `chunk`; an unfinished line waits for the next. */
  push(chunk: Buffer): Buffer;
  /** Bytes that wait for the end of their line. */
  readonly pendingBytes: number;
}

const newline = Buffer.from("\n");

export function createCriReader(options: CriOptions): CriReader {
  const since = options.sinceMs === undefined ? "" : new Date(options.sinceMs).toISOString();
  let pending = Buffer.alloc(0);
  /** Streams whose line was begun by a part (`P`): the next part goes on without a time. */
  const begun = new Set<string>();

  const line = (bytes: Buffer, out: Buffer[]) => {
    // Times have one length, so that texts compare as times do.
    const timeEnd = bytes.indexOf(32);
    const streamEnd = bytes.indexOf(32, timeEnd + 1);
    const tagEnd = bytes.indexOf(32, streamEnd + 1);
    if (timeEnd < 0 || streamEnd < 0 || tagEnd < 0) return;
    const time = bytes.toString("latin1", 0, timeEnd);
    if (time < since) return;
    const stream = bytes.toString("latin1", timeEnd + 1, streamEnd);
    const partial = bytes.toString("latin1", streamEnd + 1, tagEnd) === "P";
    if (options.timestamps && !begun.has(stream)) out.push(Buffer.from(`${time} `));
    out.push(bytes.subarray(tagEnd + 1));
    if (partial) begun.add(stream);
    else {
      begun.delete(stream);
      out.push(newline);
    }
  };

  return {
    push(chunk) {
      const bytes = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
      const out: Buffer[] = [];
      let start = 0;
      for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
        line(bytes.subarray(start, end), out);
        start = end + 1;
      }
      pending = Buffer.from(bytes.subarray(start));
      return Buffer.concat(out);
    },
    get pendingBytes() {
      return pending.length;
    },
  };
}
