/** Why a connection ends, as its client, the counters and the dead letters are told. */
import { SkerryError } from "../../lib/errors.ts";
import { disconnectReason } from "./reason-codes.ts";

export type Ending = {
  /** What `skerry_ingest_mqtt_refusals_total` counts; absent for an ordinary end. */
  readonly refusal?: string;
  /** For DISCONNECT of MQTT 5. */
  readonly reasonCode: number;
  readonly message: string;
  /** For the dead letters; absent where nothing that was sent was refused, or only for now. */
  readonly code?: string;
};

export function endingOf(error: SkerryError, reasonCode = disconnectReason(error)): Ending {
  const { code, message, retryable } = error;
  return { refusal: code, reasonCode, message, ...(retryable ? {} : { code }) };
}

/** The message is recorded by itself: here only that its connection ends for it. */
export function endingOfMessage(error: Error): Ending {
  const reasonCode = error instanceof SkerryError ? disconnectReason(error) : 0x80;
  return { refusal: "message-refused", reasonCode, message: error.message };
}

export const invalidPacket = (message: string, reasonCode: number): Ending => ({
  refusal: "invalid-packet",
  reasonCode,
  message,
  code: "invalid-packet",
});
