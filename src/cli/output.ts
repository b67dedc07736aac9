/**
 * What commands print. People get aligned tables and sentences, scripts get JSON (`--json`) or, when
 * standard output is not a terminal, the same tables separated by tabs.
 */
export type Output = {
  readonly isTerminal: boolean;
  /** Standard output. */
  line(text: string): void;
  /** Standard error: progress, hints, warnings. */
  note(text: string): void;
  /** Rewrites one line of standard error on a terminal; every tenth call otherwise prints a line. */
  progress(text: string): void;
  /** Ends a progress line. */
  endProgress(): void;
};

export function createOutput(streams: {
  stdout: NodeJS.WriteStream;
  stderr: NodeJS.WriteStream;
}): Output {
  let open = false;
  let calls = 0;
  // `skerry … | head` closes the pipe early: nobody reads on, which is no fault of anybody.
  streams.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
  return {
    isTerminal: streams.stdout.isTTY === true,
    line: (text) => void streams.stdout.write(`${text}\n`),
    note: (text) => void streams.stderr.write(`${text}\n`),
    progress(text) {
      if (streams.stderr.isTTY) {
        streams.stderr.write(`\r\u001b[2K${text}`);
        open = true;
      } else if (calls++ % 10 === 0) {
        streams.stderr.write(`${text}\n`);
      }
    },
    endProgress() {
      if (open) streams.stderr.write("\n");
      open = false;
      calls = 0;
    },
  };
}

/** Rows under a header: padded columns for people, tabs for scripts. */
export function renderTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  options: { tabs: boolean },
): string {
  const lines = [header, ...rows];
  if (options.tabs) return lines.map((cells) => cells.join("\t")).join("\n");
  const widths = header.map((_, column) =>
    Math.max(...lines.map((cells) => (cells[column] ?? "").length)),
  );
  return lines
    .map((cells) =>
      cells
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("   ")
        .trimEnd(),
    )
    .join("\n");
}

/** RFC 4180; objects and lists as JSON, nothing for what is absent or null. */
export function csvValue(value: unknown): string {
  if (value === undefined || value === null) return "";
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
