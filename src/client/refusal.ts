import { SkerryError, type SkerryErrorInit } from "../lib/errors.ts";

/** What an answer that is no success says, whoever sent it. */
export function refusalOf(status: number, text: string): SkerryError {
  try {
    const { error } = JSON.parse(text) as {
      error: SkerryErrorInit;
    };
    return new SkerryError(error);
  } catch {
    // Not one of ours: a proxy on the way, or another program on this port.
    return new SkerryError({
      code: "refused",
      message: `status ${status}: ${text.slice(0, 200)}`,
      retryable: status >= 500,
    });
  }
}
