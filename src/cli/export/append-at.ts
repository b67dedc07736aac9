/** Writing at a place of a file. */
import type { FileHandle } from "node:fs/promises";

/** Durable when it resolves, so that what is noted of it never says more than the file holds. Answers the bytes. */
export async function appendAt(
  file: FileHandle,
  position: number,
  bytes: Uint8Array,
): Promise<number> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
  await file.datasync();
  return bytes.length;
}
