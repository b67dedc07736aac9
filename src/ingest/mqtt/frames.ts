/**
 * Measures MQTT packets as they pass, without copying: the size is judged on the fixed header (MQTT 5,
 * section 2.1), before anything of the packet is collected.
 */
export type FrameVerdict =
  /** How many bytes were judged, and how many packets ended in them. */
  | { readonly ok: true; readonly bytes: number; readonly packets: number }
  | { readonly ok: false; readonly reason: "too-large" | "malformed"; readonly bytes: number };

export interface FrameMeter {
  /**
   * Judges the next bytes of the connection, up to the end of the `packetsMax`th packet in them. After
   * a verdict that is not ok, do not call again.
   */
  accept(chunk: Uint8Array, packetsMax?: number): FrameVerdict;
  /** Bytes seen of a packet that has not ended. */
  readonly partialBytes: number;
}

/** At most four bytes of length, seven bits each. */
const lengthBytesMax = 4;

export function createFrameMeter(options: { packetBytesMax: number }): FrameMeter {
  let state: "type" | "length" | "body" = "type";
  let length = 0;
  let lengthBytes = 0;
  let bodyLeft = 0;

  return {
    accept(chunk, packetsMax = Infinity) {
      let packets = 0;
      let i = 0;
      while (i < chunk.length && packets < packetsMax) {
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
            if (length === 0) packets++;
            break;
          }
          case "body": {
            const taken = Math.min(bodyLeft, chunk.length - i);
            i += taken;
            bodyLeft -= taken;
            if (bodyLeft === 0) {
              state = "type";
              packets++;
            }
          }
        }
      }
      return { ok: true, bytes: i, packets };
    },
    get partialBytes() {
      return state === "type"
        ? 0
        : state === "length"
          ? 1 + lengthBytes
          : 1 + lengthBytes + length - bodyLeft;
    },
  };
}
