/** All parts, each in its own files of one folder. */
import { documentsPart } from "./documents.ts";
import { groupsPart } from "./groups.ts";
import { hubDocumentsPart, hubStreamsPart } from "./hub.ts";
import { mqttPart } from "./mqtt.ts";
import type { Part } from "./part.ts";
import { epochPart, identityPart, recordsPart, timePart } from "./records.ts";
import { ledgerPart, mirrorPart, streamsPart } from "./stores.ts";

export const parts: readonly Part[] = [
  ledgerPart,
  streamsPart,
  groupsPart,
  documentsPart,
  hubStreamsPart,
  hubDocumentsPart,
  mirrorPart,
  mqttPart,
  identityPart,
  timePart,
  epochPart,
  recordsPart,
];
