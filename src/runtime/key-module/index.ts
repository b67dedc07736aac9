export { whyNoKey } from "./examine.ts";
export { openModuleKey, type ModuleKey } from "./key.ts";
export { parseKeyReference, type KeyReference } from "./reference.ts";
