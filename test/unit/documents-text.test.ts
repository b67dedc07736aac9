/** Rich text: what concurrent edits make, and what of a delta is refused. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import { Doc, encodeStateAsUpdate, Map as YMap } from "yjs";
import type { TextDelta } from "../../src/api/records/index.ts";
import { show } from "../../src/data/documents/body.ts";
import { createEditor, type Editor } from "../../src/data/documents/editor.ts";
import { readOperation } from "../../src/data/documents/operation.ts";
import { emptyState, type DocumentState } from "../../src/data/documents/state.ts";
import {
  beginText,
  deltaBetween,
  deltaProblem,
  editText,
  formattedText,
  isTextState,
  joinTexts,
  plainText,
  textOf,
  textState,
} from "../../src/data/documents/text.ts";
import type { Made } from "../../src/drill/simulated/convergence/documents-model.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { range } from "../support/data.ts";
import { applyMade, contextOf } from "../support/documents-history.ts";

/** An edit by somebody who knows what `known` says, on a copy of that. */
function made(origin: string, known: readonly Made[], act: (editor: Editor) => void): Made {
  const tops = new Map(known.map((one) => [one.origin, one.sequence]));
  const stamp = { origin, sequence: (tops.get(origin) ?? 0) + 1, hlc: known.length, known: tops };
  const editor = createEditor(stateOf(known), contextOf(stamp), () => "text");
  act(editor);
  return { ...stamp, verb: "edit", changes: [...editor.changes] };
}

function stateOf(history: readonly Made[]): DocumentState {
  const state = emptyState();
  for (const one of history) applyMade(state, one);
  return state;
}
const textIn = (history: readonly Made[]) => show(stateOf(history)).body?.["t"];
const edit = (delta: TextDelta) => (editor: Editor) => editor.edit("/t", delta);
const put = (text: string) => (editor: Editor) => editor.become({ t: text });

test("M1: edits of one text by several are all in it, in either order, byte by byte", () => {
  const first = made("a", [], put("fix the pump"));
  const here = made("b", [first], edit([{ retain: 8 }, { insert: "big " }]));
  const there = made("c", [first], edit([{ delete: 3 }, { insert: "replace" }]));
  assert.equal(textIn([first, here, there]), "replace the big pump");
  const [one, other] = [stateOf([first, here, there]), stateOf([first, there, here])];
  assert.deepEqual(one, other);
});

test("M2: what is put becomes the piece that differs; what others wrote meanwhile stays", () => {
  const first = made("a", [], put("pump 3 leaks"));
  const whole = made("b", [first], put("pump 4 leaks"));
  const other = made("c", [first], edit([{ retain: 12 }, { insert: " oil" }]));
  assert.equal(textIn([first, whole, other]), "pump 4 leaks oil");
  // Taken away and edited at once: what was not known stays.
  const gone = made("b", [first], (editor) => editor.become(undefined, "/t"));
  assert.equal(textIn([first, gone]), undefined);
  assert.equal(textIn([first, gone, other]), " oil");
  const empty = made("b", [first], put(""));
  assert.equal(textIn([first, empty]), "");
  assert.equal(textIn([first, empty, other]), " oil");
  assert.deepEqual(show(stateOf([first, empty, other])).conflicts, []);
});

test("a plain string that two begin to edit at once is not written down twice", () => {
  const plain: Made = {
    ...{ origin: "a", sequence: 1, hlc: 1, known: new Map(), verb: "edit" },
    changes: [{ type: "set", path: "/t", value: "pump" }],
  };
  const [here, there] = ["b", "c"].map((origin) =>
    made(origin, [plain], edit([{ retain: 4 }, { insert: ` ${origin}` }])),
  ) as [Made, Made];
  assert.match(String(textIn([plain, here, there])), /^pump( b c| c b)$/);
});

test("attributes merge beside the characters, and are read as a delta", () => {
  const first = made(
    "a",
    [],
    edit([{ insert: "wear " }, { insert: "gloves", attributes: { bold: true } }]),
  );
  const link = made(
    "b",
    [first],
    edit([{ retain: 5 }, { retain: 6, attributes: { link: "/ppe" } }]),
  );
  const more = made("c", [first], edit([{ insert: "please " }]));
  const text = stateOf([first, link, more]).cells.get("/t")?.text;
  assert.ok(text);
  assert.deepEqual(formattedText(text), [
    { insert: "please wear " },
    { insert: "gloves", attributes: { bold: true, link: "/ppe" } },
  ]);
  assert.equal(
    formattedText(joinTexts(undefined, editText(undefined, "a", [{ insert: "x" }])!)),
    undefined,
  );
});

test("M4: from any text to any other, whatever characters they are of", () => {
  const text = fc
    .array(fc.constantFrom("a", "b", "😀", "😎", "é", "\n"), { maxLength: 8 })
    .map((parts) => parts.join(""));
  fc.assert(
    fc.property(text, text, (before, after) => {
      const start =
        before === ""
          ? undefined
          : joinTexts(undefined, editText(undefined, "a", [{ insert: before }])!);
      const update = editText(start, "b", deltaBetween(before, after));
      assert.equal(plainText(update ? joinTexts(start, update) : start), after);
    }),
  );
});

test("what reaches past the end is cut there, and what changes nothing is no update", () => {
  const start = joinTexts(undefined, editText(undefined, "a", [{ insert: "pump" }])!);
  const update = editText(start, "b", [
    { retain: 99, attributes: { bold: true } },
    { insert: "s" },
    { delete: 5 },
  ]);
  assert.equal(plainText(joinTexts(start, update!)), "pumps");
  assert.equal(editText(start, "b", [{ retain: 9 }, { delete: 3 }]), undefined);
});

test("a delta is refused by part and reason, and so is an update that Yjs cannot read", () => {
  const problems: readonly (readonly [unknown, RegExp])[] = [
    ["text", /must be a list/],
    [[{ insert: "" }], /\[0\] insert must be text/],
    [[{ insert: "\ud800" }], /\[0\] insert must be text/],
    [[{ retain: 1 }, { retain: 0 }], /\[1\] retain must be a whole number from 1/],
    [[{ delete: 1, attributes: { bold: true } }], /delete has no attributes/],
    [[{ insert: "a", retain: 1 }], /one of insert, retain and delete/],
    [[{ insert: { image: "x" } }], /insert must be text/],
    [[{ retain: 1, attributes: { style: { size: 1 } } }], /attributes must be/],
    [[{ move: 1 }], /one of insert, retain and delete/],
  ];
  for (const [delta, expected] of problems)
    assert.match(deltaProblem(delta as TextDelta) ?? "", expected);
  assert.equal(
    deltaProblem([{ retain: 1, attributes: { bold: null } }, { insert: "a" }]),
    undefined,
  );
  const operation = (update: string) =>
    JSON.stringify({
      ...{ hlc: 1, seen: {} },
      writes: [
        { collection: "c", id: "d", verb: "edit", changes: [{ type: "text", path: "/t", update }] },
      ],
    });
  assert.throws(
    () => readOperation(operation("AAECAwQF/////w==")),
    /text is not as this version knows it/,
  );
});

test("M22: what is taken for a text can be read, and joined to any other in any order: changed bytes that fail where what they name is there are refused", () => {
  const base = beginText("a/1", "hello world, this is a text");
  const next = (state: Uint8Array | undefined, author: string, delta: TextDelta) => {
    const edit = editText(state, author, delta);
    assert.ok(edit);
    return edit;
  };
  const dear = next(base, "b/1", [{ retain: 5 }, { insert: " dear" }, { delete: 2 }]);
  const whole = joinTexts(base, dear);
  const bold = { attributes: { bold: true } };
  const said = [
    base,
    dear,
    next(whole, "a/1", [{ retain: 3, ...bold }, { insert: "xyz", ...bold }, { delete: 7 }]),
    next(base, "c/1", [{ retain: 8 }, { insert: "much" }, { retain: 3, ...bold }, { delete: 4 }]),
  ];
  const all = said.reduce((state, edit) => joinTexts(state, edit));
  for (const honest of [...said, whole, all]) assert.ok(isTextState(textOf(honest)));
  const counts = { taken: 0, refused: 0 };
  for (const seed of range(1, 3000)) {
    const random = seededRandom(seed);
    const bytes = new Uint8Array([...said, all][random.integer(said.length + 1)] ?? base);
    for (let change = 0; change <= random.integer(3); change++)
      bytes[random.integer(bytes.length)] = random.integer(random.integer(3) === 0 ? 256 : 32);
    const isTaken = isTextState(textOf(bytes));
    counts[isTaken ? "taken" : "refused"]++;
    if (!isTaken) continue;
    const parts = [...said];
    parts.splice(random.integer(parts.length + 1), 0, bytes);
    const joined = parts.reduce((state, part) => joinTexts(state, part));
    // As it goes to another thread.
    structuredClone([plainText(joined), formattedText(joined)]);
  }
  assert.ok(counts.taken > 200 && counts.refused > 500, JSON.stringify(counts));
});

test("M22: a part that names what its author says later is refused, though an empty text lets it wait", () => {
  const base = "AQO7p6yp244HAAQBBHRleHQDaGVsgbunrKnbjgcCBIS7p6yp244HBgRvcmxkAbunrKnbjgcBAwQ=";
  const update =
    "AQO7p6yp244HC8a7p6yp244HBLunrKnbjgcwBGJvbGQEdHJ1ZcS7p6yp244HC7unrKnbjgcFBSBkZWFyxrunE6nbjgcQu6esqduOBwUEYm9sZARudWxsAA==";
  assert.throws(() => joinTexts(textState(base), textState(update)), TypeError);
  assert.deepEqual([isTextState(base), isTextState(update)], [true, false]);
});

test("M22: parts that no text has are refused: embedded types, attributes of the text, other roots", () => {
  const updateOf = (act: (doc: Doc) => void) => {
    const doc = new Doc();
    act(doc);
    return textOf(encodeStateAsUpdate(doc));
  };
  assert.ok(isTextState(updateOf((doc) => doc.getText("text").insert(0, "as edits make it"))));
  for (const act of [
    (doc: Doc) => doc.getText("text").insertEmbed(0, { image: "x" }),
    (doc: Doc) => doc.getText("text").insertEmbed(0, new YMap(), { bold: true }),
    (doc: Doc) => doc.getText("text").setAttribute("lang", "en"),
    (doc: Doc) => void doc.getMap("more").set("a", 1),
    (doc: Doc) => void doc.getMap("more").set("a", new Doc()),
  ])
    assert.equal(isTextState(updateOf(act)), false, act.toString());
});
