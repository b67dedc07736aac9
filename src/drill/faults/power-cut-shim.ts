/** The preload shim of the power cuts: see `power-cut-shim.c`. */
import { compile } from "./compile.ts";

/** Path of the shared object. Throws as `compile` does. */
export function buildShim(): string {
  return compile(new URL("./power-cut-shim.c", import.meta.url), {
    what: "a power cut",
    flags: ["-shared", "-fPIC", "-pthread"],
    libraries: ["-ldl"],
  });
}
