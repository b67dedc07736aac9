/**
 * Bytes of a container's output into CRI log lines (`TIME stdout F text`, Kubernetes' container
 * runtime interface): pure, one cutter for each stream.
 */
export type StreamName = "stdout" | "stderr";

/** A longer line is cut into parts marked `P`, as containerd does it. */
export const lineTextBytesMax = 16 * 1024;

export type CutLines = {
  readonly text: Buffer;
  /** How many bytes of the input became lines; the rest is an unfinished line. */
  readonly consumed: number;
};

/** Lines of `input`, up to `textBytesMax` of output; with `atEnd` the unfinished one as well. */
export function cutLines(
  input: Buffer,
  options: { stream: StreamName; time: string; atEnd: boolean; textBytesMax: number },
): CutLines {
  const parts: Buffer[] = [];
  const whole = Buffer.from(`${options.time} ${options.stream} F `);
  const partial = Buffer.from(`${options.time} ${options.stream} P `);
  const newline = Buffer.from("\n");
  let start = 0;
  let textBytes = 0;
  while (start < input.length && textBytes < options.textBytesMax) {
    const lineStart = start;
    const end = input.indexOf(10, start);
    const textEnd = end < 0 ? input.length : end;
    if (textEnd - start > lineTextBytesMax) {
      parts.push(partial, input.subarray(start, start + lineTextBytesMax), newline);
      start += lineTextBytesMax;
    } else if (end >= 0) {
      parts.push(whole, input.subarray(start, end), newline);
      start = end + 1;
    } else if (options.atEnd) {
      parts.push(whole, input.subarray(start), newline);
      start = input.length;
    } else {
      break;
    }
    textBytes += start - lineStart + whole.length + newline.length;
  }
  return { text: Buffer.concat(parts), consumed: start };
}
