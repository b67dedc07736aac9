/** MQTT 5 reason codes (section 2.4), and which of them says what one of our errors means. */
import type { SkerryError } from "../../lib/errors.ts";

export const reason = {
  success: 0x00,
  disconnectWithWill: 0x04,
  noMatchingSubscribers: 0x10,
  noSubscriptionExisted: 0x11,
  unspecified: 0x80,
  malformed: 0x81,
  protocolError: 0x82,
  implementation: 0x83,
  unsupportedVersion: 0x84,
  clientIdNotValid: 0x85,
  badCredentials: 0x86,
  notAuthorized: 0x87,
  serverUnavailable: 0x88,
  serverBusy: 0x89,
  shuttingDown: 0x8b,
  badAuthenticationMethod: 0x8c,
  keepAliveTimeout: 0x8d,
  sessionTakenOver: 0x8e,
  filterInvalid: 0x8f,
  topicInvalid: 0x90,
  packetIdNotFound: 0x92,
  receiveMaximumExceeded: 0x93,
  topicAliasInvalid: 0x94,
  packetTooLarge: 0x95,
  quotaExceeded: 0x97,
  payloadFormatInvalid: 0x99,
} as const;

/** CONNACK of MQTT 3.1.1 (section 3.2.2.3). */
export type ReturnCode = 1 | 2 | 3 | 4;

/** What PUBACK and PUBREC say of a message that was refused; what is not named here is 0x83. */
const publishReasonByCode: Readonly<Record<string, number>> = {
  "invalid-entry": reason.payloadFormatInvalid,
  "stream-unknown": reason.topicInvalid,
  forbidden: reason.notAuthorized,
  "disk-full": reason.quotaExceeded,
  "store-busy": reason.quotaExceeded,
  "producer-too-fast": reason.quotaExceeded,
  "producers-too-many": reason.quotaExceeded,
  "message-too-large": reason.packetTooLarge,
};

/** What DISCONNECT says; what is not named here is 0x80. */
const disconnectReasonByCode: Readonly<Record<string, number>> = {
  "invalid-packet": reason.malformed,
  "message-too-large": reason.packetTooLarge,
  "store-busy": reason.quotaExceeded,
  "client-too-fast": reason.receiveMaximumExceeded,
  "client-too-slow": reason.quotaExceeded,
  forbidden: reason.notAuthorized,
};

export const publishReason = (error: SkerryError) =>
  publishReasonByCode[error.code] ?? reason.implementation;

export const disconnectReason = (error: SkerryError) =>
  disconnectReasonByCode[error.code] ?? reason.unspecified;
