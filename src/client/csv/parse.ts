/**
 * CSV as RFC 4180 describes it, read as a stream: quoted fields may hold separators, line ends and
 * doubled quotes. The separator (comma, semicolon or tab) is the one the header line uses most.
 */
import { SkerryError } from "../../lib/errors.ts";

export type CsvRow = {
  /** Where the row begins in the file, from 1. */
  readonly line: number;
  readonly fields: readonly string[];
};

/** Characters in one row; more is a file that is not CSV, or a quote that was never closed. */
const rowCharactersMax = 1024 * 1024;
const separators = [",", ";", "\t"] as const;

/** Rows in order, blank lines left out. Throws `invalid-csv` naming the line. */
export async function* parseCsv(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncIterable<CsvRow> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const parser = createParser();
  for await (const chunk of chunks) yield* parser.push(decode(decoder, parser.line, chunk));
  yield* parser.push(decode(decoder, parser.line));
  yield* parser.end();
}

function decode(
  decoder: InstanceType<typeof TextDecoder>,
  line: number,
  chunk?: Uint8Array,
): string {
  try {
    return chunk ? decoder.decode(chunk, { stream: true }) : decoder.decode();
  } catch (cause) {
    throw new SkerryError({
      code: "invalid-csv",
      message: `after line ${line}: there are bytes that are not UTF-8`,
      hint: "convert the file to UTF-8 first: iconv -f LATIN1 -t UTF-8",
      cause,
    });
  }
}

type Parser = {
  readonly line: number;
  push(text: string): Generator<CsvRow>;
  end(): Generator<CsvRow>;
};

function createParser(): Parser {
  let line = 1;
  let rowLine = 1;
  let rowCharacters = 0;
  let separator: string | undefined;
  let fields: string[] = [];
  let field = "";
  /** `quote-seen`: a quote inside a quoted field, which ends it or stands for one. */
  let state: "start" | "plain" | "quoted" | "quote-seen" = "start";
  /** The header line as it comes in, until its separator is known. */
  let pending = "";
  let afterReturn = false;

  const bad = (what: string, at = line) =>
    new SkerryError({ code: "invalid-csv", message: `line ${at}: ${what}` });

  const endRow = (): CsvRow | undefined => {
    const blank = fields.length === 0 && field === "" && state === "start";
    fields.push(field);
    const row = { line: rowLine, fields };
    fields = [];
    field = "";
    state = "start";
    rowCharacters = 0;
    return blank ? undefined : row;
  };

  function* consume(text: string): Generator<CsvRow> {
    for (const character of text) {
      if (++rowCharacters > rowCharactersMax)
        throw bad("the row is too long; is a quote not closed?", rowLine);
      const isNewline = character === "\n";
      const isSecondHalf = isNewline && afterReturn;
      afterReturn = character === "\r";
      if ((isNewline || afterReturn) && !isSecondHalf) line++;
      if (state === "quoted") {
        if (character === '"') state = "quote-seen";
        else field += character;
        continue;
      }
      if (isSecondHalf) continue;
      if (character === '"') {
        if (state === "plain") throw bad("a quote inside a field that does not begin with one");
        if (state === "quote-seen") field += '"';
        state = "quoted";
      } else if (character === separator) {
        fields.push(field);
        field = "";
        state = "start";
        // A separator makes the row one that is not blank.
      } else if (isNewline || afterReturn) {
        const row = endRow();
        rowLine = line;
        if (row) yield row;
      } else {
        if (state === "quote-seen") throw bad(`"${character}" after a closing quote`);
        field += character;
        state = "plain";
      }
    }
  }

  return {
    get line() {
      return line;
    },
    *push(text) {
      if (separator !== undefined) return yield* consume(text);
      pending += text;
      // A header line with a line end inside quotes is cut short here; its first part still tells.
      if (!/\S[^\n\r]*[\n\r]/.test(pending) && pending.length < rowCharactersMax) return;
      separator = likelySeparator(pending);
      const first = pending;
      pending = "";
      yield* consume(first);
    },
    *end() {
      if (separator === undefined) {
        separator = likelySeparator(pending);
        yield* consume(pending);
      }
      if (state === "quoted") throw bad("a quote is not closed", rowLine);
      const row = endRow();
      if (row) yield row;
    },
  };
}

function likelySeparator(text: string): string {
  const header = (/\S[^\n\r]*/.exec(text)?.[0] ?? "").replaceAll(/"[^"]*"/g, "");
  const count = (separator: string) => header.split(separator).length;
  return separators.reduce((best, next) => (count(next) > count(best) ? next : best));
}
