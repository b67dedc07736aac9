import type { Command } from "commander";
import {
  createDocuments,
  type DocumentClient,
  type DocumentWriteOptions,
  type StoredDocument,
} from "../../client/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { isHubFolder } from "../../runtime/local/index.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";
import { callJson, openLocalApi, type LocalApi } from "../local-api.ts";
import { renderTable } from "../output.ts";

type Flags = { data?: string; cell?: string; json?: boolean };
type PublishFlags = Flags & {
  cells?: string;
  cellField?: string;
  fromCells?: string | true;
  index?: string;
};
type WriteFlags = Flags & { durability?: string };
type PutFlags = WriteFlags & { merge?: boolean };

const cellFlagText = "on a hub: of this cell";

/** Documents among the data commands: one, a collection, and what a person should look at. */
export function registerDocuments(data: Command, context: Context): void {
  data
    .command("get <collection> [id]")
    .description("a document of this node's or hub's store, or all of a collection")
    .option(dataFlag, dataFlagText)
    .option("--cell <name>", cellFlagText)
    .option("--json", "one document a line, with version and conflicts")
    .addHelpText(
      "after",
      "\nExamples:\n  skerry data get items bolt-8\n  skerry data get items --json\n  skerry data get items --data .skerry/demo/hub --cell demo",
    )
    .action((collection: string, id: string | undefined, flags: Flags) =>
      withDocuments(flags, context, async (documents) => {
        const where = cellOf(flags);
        if (id === undefined)
          return show(await all(documents.list(collection, where)), flags, context);
        if (isHub(flags, context) && flags.cell === undefined)
          return show(await all(documents.list(collection, { id })), flags, context);
        const document = await documents.get(collection, id, where);
        if (!document)
          throw new SkerryError({
            code: "document-unknown",
            message: `there is no document "${id}" in ${collection}`,
            hint: `skerry data get ${collection} lists what there is`,
          });
        context.output.line(
          flags.json ? JSON.stringify(document) : JSON.stringify(document.body, undefined, 2),
        );
        if (!flags.json && document.conflicts.length > 0)
          context.output.note(conflictLines(document).join("\n"));
      }),
    );

  data
    .command("put <collection> <id> <json>")
    .description("make a document this, on this node's or hub's store; others get it from there")
    .option(dataFlag, dataFlagText)
    .option("--merge", "the JSON is a merge patch (RFC 7396): null removes a field")
    .option("--durability <level>", "local or peer(1) and more (default: local)")
    .option("--json", "the answer as JSON")
    .addHelpText(
      "after",
      '\nExamples:\n  skerry data put items bolt-8 \'{"name":"bolt","stock":40}\'\n  skerry data put items bolt-8 \'{"colour":null}\' --merge',
    )
    .action((collection: string, id: string, json: string, flags: PutFlags) =>
      withDocuments(flags, context, async (documents) => {
        const body = bodyOf(json);
        const options = optionsOf(flags);
        const answer = await (flags.merge
          ? documents.merge(collection, id, body, options)
          : documents.put(collection, id, body, options));
        for (const warning of answer.warnings ?? []) context.output.note(warning);
        context.output.line(
          flags.json
            ? JSON.stringify(answer)
            : `${collection}/${id} ${answer.changed > 0 ? "written" : "was so already"}${reached(answer)}`,
        );
      }),
    );

  data
    .command("delete <collection> <id>")
    .description("delete a document on this node's or hub's store; others delete it from there")
    .option(dataFlag, dataFlagText)
    .option("--durability <level>", "local or peer(1) and more (default: local)")
    .option("--json", "the answer as JSON")
    .addHelpText("after", "\nExamples:\n  skerry data delete items bolt-8")
    .action((collection: string, id: string, flags: WriteFlags) =>
      withDocuments(flags, context, async (documents) => {
        const answer = await documents.delete(collection, id, optionsOf(flags));
        const what = answer.changed > 0 ? "deleted" : "was not there";
        context.output.line(
          flags.json ? JSON.stringify(answer) : `${collection}/${id} ${what}${reached(answer)}`,
        );
      }),
    );

  data
    .command("publish <collection>")
    .description("on a hub: a collection that is written here and read in cells, or its filter")
    .option(dataFlag, dataFlagText)
    .option("--cells <names>", "only to these cells, with commas between (default: all)")
    .option("--cell-field <pointer>", "only documents that name the cell in this field")
    .option(
      "--from-cells [fields]",
      "cells write it too (scope: both); with /PATH:counter, :set, :list or :text, and commas between, for fields that merge so",
    )
    .option(
      "--index <pointers>",
      "fields that queries here go along, with commas between (default: as they are)",
    )
    .option("--json", "the answer as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n  skerry data publish prices --data /var/lib/skerry\n  skerry data publish prices --index /euro,/group\n  skerry data publish recipes --cells north,south\n  skerry data publish orders --cell-field /cell --from-cells /items:list,/paid:counter",
    )
    .action((collection: string, flags: PublishFlags) =>
      withDocuments(flags, context, async (_documents, api) => {
        const { cells, cellField, fromCells, index } = flags;
        const answer = await callJson<object>(
          api,
          `/v1/published/${encodeURIComponent(collection)}`,
          {
            method: "PUT",
            headers: { "content-type": "application/json" },
            body: JSON.stringify({
              ...(cells === undefined ? {} : { cells: cells.split(",").filter(Boolean) }),
              ...(cellField === undefined ? {} : { cellField }),
              ...(fromCells === undefined ? {} : { fromCells: { fields: fieldsOf(fromCells) } }),
              ...(index === undefined ? {} : { indexes: index.split(",").filter(Boolean) }),
            }),
          },
        );
        context.output.line(flags.json ? JSON.stringify(answer) : `${collection} published`);
      }),
    );

  data
    .command("conflicts [collection]")
    .description(
      "documents whose writes met without knowing of each other, with every value, and broken rules",
    )
    .option(dataFlag, dataFlagText)
    .option("--cell <name>", cellFlagText)
    .option("--json", "one document a line")
    .addHelpText(
      "after",
      "\nA conflict is settled by writing the field again, also for what is shown, one of a deletion by writing or deleting the document, a broken rule by what its line says.\n\nExamples:\n  skerry data conflicts\n  skerry data conflicts items --json",
    )
    .action((collection: string | undefined, flags: Flags) =>
      withDocuments(flags, context, async (documents, api) => {
        const found: StoredDocument[] = [];
        const where = { ...cellOf(flags), conflicted: true };
        for (const name of collection === undefined ? await collectionsOf(api) : [collection])
          found.push(...(await all(documents.list(name, where))));
        if (flags.json) for (const document of found) context.output.line(JSON.stringify(document));
        else if (found.length === 0) context.output.line("no conflicts");
        else context.output.line(found.flatMap(conflictLines).join("\n"));
      }),
    );
}

async function withDocuments(
  flags: Flags,
  context: Context,
  work: (documents: DocumentClient, api: LocalApi) => Promise<void>,
): Promise<void> {
  const api = await openLocalApi(dataDirOf(flags.data, context), context);
  try {
    await work(createDocuments(api), api);
  } finally {
    await api.close();
  }
}

const optionsOf = ({ durability }: WriteFlags): DocumentWriteOptions =>
  durability === undefined ? {} : { durability };

const reached = ({ reached: level, asked }: { reached: string; asked?: string }) =>
  `, reached: ${level}${asked === undefined ? "" : ` (asked for: ${asked})`}`;

const isHub = (flags: Flags, context: Context) => isHubFolder(dataDirOf(flags.data, context));

/** `/PATH:TYPE,…`; the hub checks what they are. */
const fieldsOf = (text: string | true) =>
  text === true
    ? []
    : text
        .split(",")
        .filter(Boolean)
        .map((field) => {
          const at = field.lastIndexOf(":");
          return { path: field.slice(0, at), type: field.slice(at + 1) };
        });

const cellOf = ({ cell }: Flags) => (cell === undefined ? {} : { cell });

async function collectionsOf(api: LocalApi): Promise<string[]> {
  const { collections } = await callJson<{ collections: { name: string; conflicted: number }[] }>(
    api,
    "/v1/documents",
  );
  const names = collections.filter(({ conflicted }) => conflicted > 0).map(({ name }) => name);
  return [...new Set(names)];
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

function show(documents: readonly StoredDocument[], flags: Flags, { output }: Context): void {
  if (flags.json) {
    for (const document of documents) output.line(JSON.stringify(document));
    return;
  }
  const ofHub = documents.some(({ cell }) => cell !== undefined);
  const rows = documents.map(({ cell = "", id, conflicts, body }) => [
    ...(ofHub ? [cell] : []),
    id,
    String(conflicts.length),
    JSON.stringify(body),
  ]);
  const columns = [...(ofHub ? ["CELL"] : []), "ID", "CONFLICTS", "BODY"];
  output.line(renderTable(columns, rows, { tabs: !output.isTerminal }));
}

function conflictLines({ cell, collection: name, id, conflicts }: StoredDocument): string[] {
  const collection = cell === undefined ? name : `${cell}: ${name}`;
  return conflicts.flatMap((conflict) => [
    `${collection}/${id}${headline(conflict, collection)}`,
    ...(conflict.others ?? []).map(
      ({ value, type, origin = "", atMs = 0 }) =>
        `  not shown: ${JSON.stringify(value)}, ${type === undefined ? written({ origin, atMs }) : `a ${type}`}`,
    ),
  ]);
}

type Conflict = StoredDocument["conflicts"][number];

/** What it is, and what settles it. */
function headline(conflict: Conflict, collection: string): string {
  const { kind, path, shown, paths = [], values = [], by } = conflict;
  switch (kind) {
    case "deleted-and-edited":
      return ": deleted by one and edited by another; it stays until it is written or deleted again";
    case "value-taken":
      return ` ${paths.join(", ")}: ${values.map((value) => JSON.stringify(value)).join(", ")} belongs to ${collection}/${by?.id}${by ? `, ${written(by)}` : ""}; settled when one of the two has another value or is deleted`;
    case "reference-missing":
      return ` ${path}: there is no ${conflict.collection}/${conflict.id}; settled when that is written, or another one is named`;
    case "concurrent-writes":
      return ` ${path}: shown is ${JSON.stringify(shown)}`;
  }
}

const written = ({ origin, atMs }: { readonly origin: string; readonly atMs: number }) =>
  `written at ${nodeOf(origin)}, ${new Date(atMs).toISOString()}`;

/** A store's origin is `NODE.INCARNATION`. */
const nodeOf = (origin: string) => origin.slice(0, origin.lastIndexOf("."));

function bodyOf(json: string): Parameters<DocumentClient["put"]>[2] {
  try {
    const value: unknown = JSON.parse(json);
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      return value as Parameters<DocumentClient["put"]>[2];
  } catch (cause) {
    throw new SkerryError({
      code: "invalid-argument",
      message: `<json>: ${cause instanceof Error ? cause.message : String(cause)}`,
      hint: `write it as '{"name":"bolt"}'`,
    });
  }
  throw new SkerryError({
    code: "invalid-argument",
    message: `<json>: ${json.slice(0, 60)} must be a JSON object`,
    hint: `write it as '{"name":"bolt"}'`,
  });
}
