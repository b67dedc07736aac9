/** An address of the cell on real interfaces: a bridge of network namespaces, and a neighbour with a cache. */
import { strict as assert } from "node:assert";
import type { ChildProcess } from "node:child_process";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import {
  makeNamespaces,
  openNamespaces,
  removeNamespaces,
} from "../../src/drill/site/namespaces.ts";
import { startEntry } from "../../src/runtime/child/index.ts";
import { systemClock as clock } from "../../src/runtime/clock/index.ts";
import type { HolderOrder, HolderWord } from "../support/address-holder.entry.ts";
import { waitFor } from "../support/wait.ts";

const run = promisify(execFile);
const timeoutMs = 40_000;
const addresses = { v4: "198.51.100.50", v6: "2001:db8::50" };

test("AD2, AD3, AD7: neighbours follow the address in both families; a frozen holder's kernel gives it up by itself", async (t) => {
  assert.equal(process.getuid?.(), 0, "namespaces are made as root, which CI gives");
  const made = await makeNamespaces(["observer", "n1", "n2"], { clock });
  assert.equal(made.state, "made");
  if (made.state !== "made") return;
  t.after(() => removeNamespaces(made.site, { clock }));
  const network = openNamespaces(made.site);
  const on = async (machine: string, ...argv: string[]) => {
    const [file = "", ...args] = network.on(machine, argv);
    return (await run(file, args, { timeout: timeoutMs })).stdout;
  };
  for (const [index, machine] of ["observer", "n1", "n2"].entries())
    await on(machine, "ip", "address", "add", `2001:db8::${index + 1}/64`, "dev", "eth0", "nodad");

  const start = async (node: string) => {
    const child: ChildProcess = startEntry(
      new URL("../support/address-holder.entry.ts", import.meta.url),
      {
        args: [node, `${addresses.v4}/24`, `${addresses.v6}/64`],
        stdio: ["ignore", "inherit", "inherit", "ipc"],
        on: (argv) => network.on(node, argv),
      },
    );
    t.after(() => child.kill("SIGKILL"));
    const words: HolderWord[] = [];
    child.on("message", (word: HolderWord) => words.push(word));
    await waitFor(() => words.some((word) => word.say === "can" && word.word === "ready"), {
      what: `${node} to say that it could hold the address`,
      timeoutMs,
    });
    return { child, words, order: (order: HolderOrder) => child.send(order) };
  };
  /** What a client on the network reads there; it keeps its neighbours in mind between the times. */
  const answerOf = async (address: string) =>
    await on("observer", "timeout", "2", "bash", "-c", `cat < /dev/tcp/${address}/7070`);
  const shownOn = async (node: string) => await on(node, "ip", "address", "show", "dev", "eth0");
  const answeredBy = async (node: string) => {
    try {
      await waitFor(
        async () =>
          (await answerOf(addresses.v4)) === node && (await answerOf(addresses.v6)) === node,
        { what: `${node} to answer in both families`, timeoutMs },
      );
    } catch (cause) {
      const neighbours = await on("observer", "ip", "neighbour", "show");
      const shown = [neighbours, await shownOn("n1"), await shownOn("n2")].join("\n");
      throw new Error(`${node} did not answer; neighbours of the client, n1, n2:\n${shown}`, {
        cause,
      });
    }
  };
  const gone = (node: string) =>
    waitFor(async () => !/198\.51\.100\.50|db8::50/.test(await shownOn(node)), {
      what: `the address to go from ${node}`,
      timeoutMs,
    });

  const [n1, n2] = [await start("n1"), await start("n2")];
  const name = (holder: string) => {
    n1.order({ holder });
    n2.order({ holder });
  };
  name("n1");
  await answeredBy("n1");
  await waitFor(async () => /198\.51\.100\.50\/32 .*dynamic/.test(await shownOn("n1")), {
    what: "the address on n1, with its end",
    timeoutMs,
  });
  name("n2");
  await answeredBy("n2");
  await gone("n1");

  // Its kernel still answers for it; the next holder's announcement is the newer word.
  n2.child.kill("SIGSTOP");
  n1.order({ holder: "n1" });
  await answeredBy("n1");
  await gone("n2");
  n2.order({ holder: "n1" });
  n2.child.kill("SIGCONT");
  await answeredBy("n1");
  await gone("n2");

  n1.order("stop");
  await waitFor(() => n1.words.some(({ say }) => say === "stopped"), {
    what: "n1 to stop",
    timeoutMs,
  });
  await gone("n1");
});
