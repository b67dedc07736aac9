/** A YAML file of fields and values, with the line of each, so that what is wrong can be found. */
import { SkerryError } from "../../lib/errors.ts";
import { readFileIfExists } from "../files/index.ts";
import { yaml } from "../yaml/index.ts";

export type FileFields = {
  readonly values: Readonly<Record<string, unknown>>;
  readonly lineByField: Readonly<Record<string, number>>;
};

/** Throws `file-unreadable`, or `invalid-config` with the line of what is no YAML or stands twice. */
export function readYamlFields(path: string): FileFields {
  const content = readFileIfExists(path);
  if (content === undefined) {
    throw new SkerryError({
      code: "file-unreadable",
      message: `configuration file ${path} does not exist`,
    });
  }
  const { isMap, isScalar, LineCounter, parseDocument } = yaml();
  const lines = new LineCounter();
  const document = parseDocument(content.toString(), { lineCounter: lines, prettyErrors: false });
  const lineAt = (offset: number | undefined) => lines.linePos(offset ?? 0).line;
  const [fault] = [...document.errors, ...document.warnings];
  if (fault) {
    throw new SkerryError({
      code: "invalid-config",
      message: `${path}:${lineAt(fault.pos[0])}: this is not YAML: ${fault.message}`,
    });
  }
  const { contents } = document;
  if (contents === null) return { values: {}, lineByField: {} };
  if (!isMap(contents)) {
    throw new SkerryError({
      code: "invalid-config",
      message: `${path}:${lineAt(contents.range?.[0])}: expected fields and values at the top`,
    });
  }
  const lineByField = Object.fromEntries(
    contents.items.map(({ key }) => [
      String(isScalar(key) ? key.value : key),
      lineAt(isScalar(key) ? key.range?.[0] : undefined),
    ]),
  );
  return { values: document.toJS() as Record<string, unknown>, lineByField };
}
