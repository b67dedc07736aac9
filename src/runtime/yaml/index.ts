/**
 * The YAML library, loaded at its first use: a node that is spoken to in JSON, as kubectl does, never
 * pays the 3 MB that it takes.
 */
import { createRequire } from "node:module";

const load = createRequire(import.meta.url);
let loaded: typeof import("yaml") | undefined;

export const yaml = (): typeof import("yaml") => (loaded ??= load("yaml") as typeof import("yaml"));
