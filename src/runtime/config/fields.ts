/** Fields that configurations of nodes and hubs share; each refuses with what is allowed. */
import { isIP } from "node:net";
import * as z from "zod";

const labelWords = "expected lower-case letters, digits and dashes, at most 63, as text";

export const labelField = z
  .string(labelWords)
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, labelWords);

const portWords = "expected a port from 0 to 65535";

/** A number, or digits as flags and variables bring them; nothing else is turned into one. */
export const portField = z
  .union(
    [
      z.number(),
      z
        .string()
        .regex(/^\d{1,5}$/)
        .transform(Number),
    ],
    portWords,
  )
  .pipe(z.number().int(portWords).min(0, portWords).max(65_535, portWords));

const hostWords = "expected an IP address of this machine";

export const hostField = z.string(hostWords).refine((text) => isIP(text) !== 0, hostWords);

export const addressField = z
  .string("expected HOST:PORT")
  .regex(/^[^\s:]+:\d{1,5}$/, "expected HOST:PORT");

export const urlField = z
  .string("expected an http or https URL")
  .refine(
    (text) => /^https?:\/\//.test(text) && URL.canParse(text),
    "expected an http or https URL",
  );

export const shareField = z.coerce
  .number("expected a number from 0 to 1")
  .min(0, "expected a number from 0 to 1")
  .max(1, "expected a number from 0 to 1");

export const switchField = z.union(
  [z.boolean(), z.enum(["true", "false"]).transform((text) => text === "true")],
  "expected true or false",
);

export const textField = z.string("expected text").min(1, "expected text");

export const logLevelField = z.enum(
  ["debug", "info", "warn", "error"],
  "expected debug, info, warn or error",
);
