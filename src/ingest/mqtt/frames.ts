/**
 * Measures MQTT packets as they pass, without copying: aedes collects a packet of up to 256 MiB
 * before anybody is asked, so the size is judged on the fixed header (MQTT 3.1.1, section 2.2).
 */
export type FrameVerdict =
  | { readonly ok: true }
  | { readonly ok: false; readonly reason: "too-large" | "malformed"; readonly bytes: number };

export interface FrameMeter {
  /** Judges the next bytes of the connection. After a verdict that is not ok, do not call again. */
  accept(chunk: Uint8Array): FrameVerdict;
}

/** At most four bytes of length, seven bits each. */
const lengthBytesMax = 4;

export function createFrameMeter(options: { packetBytesMax: number }): FrameMeter {
  let state: "type" | "length" | "body" = "type";
  let length = 0;
  let lengthBytes = 0;
  let bodyLeft = 0;

  return {
    accept(chunk) {
      for (let i = 0; i < chunk.length;) {
        switch (state) {
          case "type":
            i++;
            length = 0;
            lengthBytes = 0;
            state = "length";
            break;
          case "length": {
            const byte = chunk[i++] ?? 0;
            length += (byte & 0x7f) * 128 ** lengthBytes;
            lengthBytes++;
            if (byte & 0x80) {
              if (lengthBytes === lengthBytesMax)
                return { ok: false, reason: "malformed", bytes: length };
              break;
            }
            if (length > options.packetBytesMax)
              return { ok: false, reason: "too-large", bytes: length };
            bodyLeft = length;
            state = length === 0 ? "type" : "body";
            break;
          }
          case "body": {
            const taken = Math.min(bodyLeft, chunk.length - i);
            i += taken;
            bodyLeft -= taken;
            if (bodyLeft === 0) state = "type";
          }
        }
      }
      return { ok: true };
    },
  };
}
