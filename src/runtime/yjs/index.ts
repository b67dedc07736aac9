/** Yjs, loaded at its first use: most nodes hold no text that several people write. */
import { createRequire } from "node:module";

const load = createRequire(import.meta.url);
let loaded: typeof import("yjs") | undefined;

export const yjs = (): typeof import("yjs") => (loaded ??= load("yjs") as typeof import("yjs"));
