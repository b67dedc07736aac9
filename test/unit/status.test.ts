/** What a person reads: the cell's status in words, and the screens made of it. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { Deployment, FleetStatus, NodeVerdict, Pod } from "../../src/api/index.ts";
import { promisesOf, type PromiseView } from "../../src/agent/promises.ts";
import { cellStatus, podLine, type CellView } from "../../src/agent/status.ts";
import { renderCellStatus, renderFleetStatus } from "../../src/cli/render-status.ts";
import { tellLadder } from "../../src/membership/index.ts";
import { nodeReport } from "../support/status.ts";

const whole = { hub: "connected", quorum: "held", peers: "all", resources: "enough" } as const;
const endpoints = (node: string, isServer: boolean) => ({
  node,
  isServer,
  host: `10.0.0.${node.slice(1)}`,
  ports: { api: 1, mesh: 2, peers: 3, ingress: 4 },
});
const pod = (uid: string, nodeName: string, ready: boolean): Pod => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: `p-${uid}`, namespace: "default", uid },
  spec: { nodeName, containers: [] },
  status: {
    phase: "Running",
    ...(ready ? {} : { message: "probe fails" }),
    conditions: [{ type: "Ready", status: ready ? "True" : "False" }],
    containerStatuses: [
      { name: "main", ready, restartCount: 2, image: "", imageID: "" },
      { name: "side", ready, restartCount: 1, image: "", imageID: "" },
    ],
  },
});
const deployment = (ready: number | undefined, replicas: number): Deployment =>
  ({
    metadata: { name: "till", namespace: "shop" },
    spec: { replicas },
    ...(ready === undefined ? {} : { status: { readyReplicas: ready } }),
  }) as unknown as Deployment;

const view = (more: Partial<CellView> = {}): CellView => ({
  cell: "shop",
  self: "n1",
  nodes: [
    { name: "n2", endpoints: endpoints("n2", false) },
    { name: "n1", endpoints: endpoints("n1", true) },
  ],
  verdicts: new Map<string, NodeVerdict>([
    ["n1", { state: "alive" }],
    ["n2", { state: "alive" }],
  ]),
  reports: new Map([
    ["n1", nodeReport("n1", { role: "server" })],
    ["n2", nodeReport("n2")],
  ]),
  deployments: [],
  pods: [],
  story: tellLadder(whole),
  ladder: whole,
  held: new Map(),
  reach: { seenFrom: "n1", names: ["n1", "n2"], rows: [], deaf: [] },
  ...more,
});
const verdictsWith = (n2: NodeVerdict) =>
  new Map<string, NodeVerdict>([
    ["n1", { state: "alive" }],
    ["n2", n2],
  ]);

test("nodes stand in order with role, address and report; one never heard is unknown", () => {
  const status = cellStatus(view({ verdicts: new Map() }));
  assert.deepEqual(
    status.nodes.map(({ name, role, address, verdict }) => [name, role, address, verdict.state]),
    [
      ["n1", "server", "10.0.0.1", "unknown"],
      ["n2", "worker", "10.0.0.2", "unknown"],
    ],
  );
  const bare = cellStatus(view({ nodes: [{ name: "n3", endpoints: undefined }] }));
  assert.deepEqual([bare.nodes[0]?.address, bare.nodes[0]?.report], ["?", undefined]);
});

test("words: a healthy cell has one line, and every trouble a sentence that says what follows", () => {
  assert.deepEqual(cellStatus(view()).words, ["All is well"]);
  const say = (n2: NodeVerdict) => cellStatus(view({ verdicts: verdictsWith(n2) })).words;
  assert.match(
    say({ state: "agent-down", forMs: 3000 }).join("\n"),
    /n2: its agent is down for 3s; its pods run on/,
  );
  assert.match(
    say({ state: "unreachable", forMs: 130_000, witnesses: [] }).join("\n"),
    /n2: unreachable for 2m10s/,
  );
  assert.match(
    say({ state: "link-down", forMs: 5000, heardBy: ["n3"] }).join("\n"),
    /not heard here for 5s, but n3 hears it: the link is what failed/,
  );
  for (const n2 of [
    { state: "agent-down", forMs: 1 },
    { state: "unreachable", forMs: 1, witnesses: [] },
  ] as const)
    assert.doesNotMatch(say(n2)[0] ?? "", /All is well/);
});

test("words: two nodes that say they are at one address are told apart from a cell that is well", () => {
  const at = (name: string, host: string, peers = 3) => {
    const known = endpoints(name, false);
    return { name, endpoints: { ...known, host, ports: { ...known.ports, peers } } };
  };
  const say = (...nodes: CellView["nodes"]) => cellStatus(view({ nodes })).words;
  const [title, words] = say(at("n1", "10.0.0.7"), at("n2", "10.0.0.7"));
  assert.equal(title, "Not whole: addresses of nodes. Everything else goes on.");
  assert.match(
    words ?? "",
    /^n1 and n2 say that they are at 10\.0\.0\.7:3: only one of them can be/,
  );
  assert.match(words ?? "", /skerry up --host ADDRESS/);
  assert.deepEqual(say(at("n1", "10.0.0.7"), at("n2", "10.0.0.7", 5)), ["All is well"]);
  const silent = { name: "n2", endpoints: undefined };
  assert.deepEqual(say(silent, { ...silent, name: "n1" }), ["All is well"], "not told yet");
});

test("words: a node that was not heard yet is no node that is well", () => {
  const say = (more: Partial<CellView> = {}) =>
    cellStatus(view({ verdicts: verdictsWith({ state: "unknown" }), ...more })).words[0];
  assert.match(say() ?? "", /^Not heard yet: n2\. This node began to listen a moment ago/);
  const third = { name: "n3", endpoints: endpoints("n3", false) };
  const verdicts = new Map<string, NodeVerdict>([
    ...verdictsWith({ state: "unknown" }),
    ["n3", { state: "unreachable", forMs: 2000, witnesses: [] }],
  ]);
  assert.equal(
    say({ nodes: [...view().nodes, third], verdicts }),
    "Not whole: n3. Everything else goes on.",
  );
});

test("words: why a server's own member of the ledger does not run stands there with what to do", () => {
  const memberFailure = {
    code: "ledger-data-lost",
    message: "n2 is a member of the ledger, but D does not hold its data",
    hint: "on another server: skerry server replace n2",
  };
  const reports = new Map([
    ["n1", nodeReport("n1", { role: "server" })],
    ["n2", nodeReport("n2", { role: "server", memberFailure })],
  ]);
  const { words } = cellStatus(view({ reports }));
  assert.ok(
    words.includes(
      "n2 is a member of the ledger, but D does not hold its data. To do: on another server: skerry server replace n2",
    ),
    words.join("\n"),
  );
  assert.equal(words[0], "Not whole: the ledger. Everything else goes on.");
});

test("words: a node that tells of more of another's log than it can show is named", () => {
  const reports = new Map([["n1", nodeReport("n1", { doubted: ["n3"] })]]);
  const { words } = cellStatus(view({ reports }));
  assert.ok(
    words.some((line) => line.startsWith("n3 tells of more of what n1 wrote than it can show")),
    words.join("\n"),
  );
});

test("words: a node whose disk failed is not well, and what to do stands there", () => {
  const storeFailure = {
    code: "storage-failed",
    message: "the disk failed under D/streams.db",
    hint: "check the disk",
  };
  const { words } = cellStatus(
    view({ reports: new Map([["n1", nodeReport("n1", { storeFailure })]]) }),
  );
  assert.equal(words[0], "Not whole: disks of nodes. Everything else goes on.");
  assert.ok(
    words.includes(
      "n1 acknowledges no entries: the disk failed under D/streams.db. To do: check the disk",
    ),
    words.join("\n"),
  );
});

test("words: on a lower rung stands what is the matter and what to do", () => {
  const { words } = cellStatus(view({ story: tellLadder({ ...whole, hub: "lost" }) }));
  assert.match(words[0] ?? "", /^The hub cannot be reached\.$/);
  assert.match(words[1] ?? "", /^To do: Check the WAN/);
});

const three = (verdictByNode: Readonly<Record<string, NodeVerdict>> = {}, short: string[] = []) =>
  ["n1", "n2", "n3"].map((name) => ({
    name,
    isServer: name === "n1",
    verdict: verdictByNode[name] ?? ({ state: "alive" } as const),
    short: name === "n2" ? short : [],
  }));
const gone: NodeVerdict = { state: "unreachable", forMs: 5000, witnesses: [] };
const promises = (more: Partial<PromiseView> = {}) => {
  const { kept, suspended } = promisesOf({
    self: "n2",
    ladder: whole,
    nodes: three(),
    waitingForHub: 0,
    held: new Map(),
    ledger: undefined,
    ...more,
  });
  return { kept: kept.join("\n"), suspended: suspended.join("\n") };
};

test("promises: a whole cell keeps all, and says what its only server means", () => {
  const { kept, suspended } = promises();
  assert.match(kept, /peer\(k\) is acknowledged up to k = 2/);
  assert.match(kept, /Changes by kubectl take effect/);
  assert.match(kept, /another node that is lost are started elsewhere within seconds/);
  assert.equal(suspended.split("\n").length, 1);
  assert.match(suspended, /n1 is the only server/);
});

test("promises: without the server all but desired state goes on, and a write is refused at once", () => {
  for (const lost of [
    { ladder: { ...whole, quorum: "no-server" } as const, nodes: three({ n1: gone }) },
    { nodes: three({ n1: { state: "agent-down", forMs: 5000 } }) },
  ]) {
    const { kept, suspended } = promises(lost);
    assert.match(kept, /Pods run on.*n2, n3/);
    assert.match(kept, /acknowledged at local/);
    assert.match(kept, /peer\(k\) is acknowledged up to k = 1/);
    assert.match(kept, /go to the hub, and hub is acknowledged/);
    assert.doesNotMatch(kept, /kubectl|started elsewhere/);
    assert.match(suspended, /refused at once \(server-lost\) until n1 answers/);
    assert.match(suspended, /No pod is replaced/);
    assert.match(suspended, /No node can join/);
    assert.doesNotMatch(suspended, /only server/);
  }
});

test("promises: a lost node, a lost hub and a starved node each say exactly what is missing", () => {
  const node = promises({ self: "n1", nodes: three({ n3: gone }) });
  assert.match(node.suspended, /What only n3 holds/);
  assert.match(
    node.suspended,
    /another node that is lost are not replaced: with 2 of 3 nodes left/,
  );
  const held = promises({
    self: "n1",
    nodes: three({ n2: gone, n3: gone }),
    held: new Map([["n3", "this server reaches 1 of 3 nodes"]]),
  });
  assert.match(held.suspended, /Pods of n3 are not replaced: this server reaches 1 of 3 nodes\./);
  assert.match(held.suspended, /peer\(k\) is not acknowledged/);
  assert.match(held.suspended, /reaches the pods of this node only/);
  const hub = promises({ ladder: { ...whole, hub: "lost" }, waitingForHub: 12 });
  assert.match(hub.suspended, /hub is not acknowledged: 12 entries wait on disk/);
  assert.match(hub.kept, /Changes by kubectl take effect/);
  assert.doesNotMatch(
    Object.values(promises({ ladder: { ...whole, hub: "none" } })).join(),
    / hub /,
  );
  const starved = promises({ nodes: three({}, ["disk: 120 MiB free"]) });
  assert.match(starved.suspended, /n2 is short of disk: 120 MiB free;/);
});

test("promises: on the screen while something is the matter, in JSON always", () => {
  const render = (more: Partial<CellView>) =>
    renderCellStatus(cellStatus(view(more)), { tabs: true, colors: false });
  assert.doesNotMatch(render({}), /promised now/);
  assert.ok(cellStatus(view()).promises.kept.length > 0);
  const screen = render({ verdicts: verdictsWith(gone) });
  assert.match(screen, /^ {2}promised now:\n {4}\+ Pods run on/m);
  assert.match(screen, /^ {2}not promised now:\n {4}- /m);
});

test("words: a Deployment with too few pods is named, one without status counts as none", () => {
  const short = cellStatus(
    view({ deployments: [deployment(1, 3), deployment(undefined, 2), deployment(2, 2)] }),
  );
  assert.deepEqual(
    short.words.filter((line) => line.startsWith("Deployment")),
    [
      "Deployment shop/till: 1 of 3 pods are ready.",
      "Deployment shop/till: 0 of 2 pods are ready.",
    ],
  );
});

test("of its own pods a node's word counts, of silent nodes' pods the API's; each pod stands once", () => {
  const own = podLine(pod("a", "n2", true), { main: 77 });
  const status = cellStatus(
    view({
      reports: new Map([["n2", nodeReport("n2", { pods: [own] })]]),
      pods: [pod("a", "n2", false), pod("b", "n9", false)],
    }),
  );
  assert.deepEqual(
    status.pods.map(({ uid, ready, pids, reason, restarts }) => [
      uid,
      ready,
      pids,
      reason,
      restarts,
    ]),
    [
      ["a", true, { main: 77 }, undefined, 3],
      ["b", false, {}, "probe fails", 3],
    ],
  );
});

test("a pod is as ready as its node was heard to say, and a node that nobody hears says nothing now", () => {
  const lines = (n2: NodeVerdict) =>
    cellStatus(
      view({ verdicts: verdictsWith(n2), reports: new Map(), pods: [pod("a", "n2", true)] }),
    ).pods.map(({ ready, reason }) => [ready, reason]);
  assert.deepEqual(lines({ state: "unreachable", forMs: 9000, witnesses: [] }), [
    [false, "as it was told last; n2 is unreachable"],
  ]);
  assert.deepEqual(lines({ state: "unknown" }), [
    [false, "as it was told last; n2 was not heard yet"],
  ]);
  for (const state of ["agent-down", "alive"] as const)
    assert.deepEqual(lines({ state, forMs: 9000 }), [[true, undefined]], state);
  const deleted = cellStatus(view({ reports: new Map(), pods: [pod("a", "n9", true)] }));
  assert.deepEqual(
    deleted.pods.map(({ ready, reason }) => [ready, reason]),
    [[false, "as it was told last; n9 is no node of the cell any more"]],
  );
});

test("the cell's screen: every verdict in words, unknown things as ?, tabs for scripts", () => {
  const render = (more: Partial<CellView>, tabs = true) =>
    renderCellStatus(cellStatus(view(more)), { tabs, colors: false });
  const screen = render({
    verdicts: verdictsWith({ state: "unreachable", forMs: 9000, witnesses: ["n3"] }),
    reports: new Map([
      [
        "n1",
        nodeReport("n1", {
          role: "server",
          hub: {
            state: "lost",
            lastContactMs: 61_000,
            backlog: { entries: 5, bytes: 2048, oldestMs: 61_000 },
          },
          streams: [{ name: "t", entries: 4, bytes: 10 }],
        }),
      ],
      ["n3", nodeReport("n3")],
    ]),
    deployments: [deployment(1, 1)],
    pods: [pod("b", "n9", false)],
  });
  const lines = screen.split("\n");
  assert.ok(
    lines.includes("n2\tworker\tunreachable for 9s: dead or cut off\t?\t?\t?\t?\t10.0.0.2"),
    screen,
  );
  const mute = render({ reports: new Map() });
  assert.match(mute, /^n2\tworker\talive, does not answer\t\?/m, "nothing is concluded yet");
  assert.match(screen, /n1\tserver\talive\t0\/0\tlost for 61s\t5 entries, 2.*KiB, oldest 61s\t/);
  assert.match(screen, /Deployment shop\/till\t1 of 1 ready/);
  assert.match(screen, /default\/p-b\tn9\tRunning: probe fails\t3/);
  assert.match(screen, /^t\t4\t/m);
  assert.doesNotMatch(render({}, false), /\t|undefined|NaN/);
  const bold = renderCellStatus(cellStatus(view()), { tabs: false, colors: true });
  assert.ok(bold.startsWith("\u001b[1mcell shop, seen from n1\u001b[0m"));
});

test("a first backup is not announced while the ledger has no quorum to make it", () => {
  const render = (quorum: "held" | "lost") =>
    renderCellStatus(
      cellStatus(
        view({
          reports: new Map([
            [
              "n1",
              nodeReport("n1", {
                role: "server",
                ledger: { quorum, members: [{ name: "n1", role: "server", state: "follower" }] },
                backup: { state: "waiting", on: [], words: "A backup is about to be made." },
              }),
            ],
          ]),
        }),
      ),
      { tabs: true, colors: false },
    );
  assert.match(render("held"), /about to be made/);
  assert.doesNotMatch(render("lost"), /about to be made/);
});

test("of a stream that several nodes hold the fullest store is shown, not the sum", () => {
  const streams = (entries: number) => ({ streams: [{ name: "t", entries, bytes: entries }] });
  const status = cellStatus(
    view({
      reports: new Map([
        ["n1", nodeReport("n1", streams(7))],
        ["n2", nodeReport("n2", streams(9))],
      ]),
    }),
  );
  assert.match(renderCellStatus(status, { tabs: true, colors: false }), /^t\t9\t/m);
});

test("the fleet's screen: a cell never heard, a silent one, one that is well", () => {
  const cell = (name: string, more: object): FleetStatus["cells"][number] => ({
    cell: name,
    enrolledAt: "",
    state: "never",
    nodesConnected: [],
    words: [`${name} words`],
    backlog: { entries: 0, bytes: 0, oldestMs: 0 },
    streams: [],
    ...more,
  });
  const screen = renderFleetStatus(
    {
      hub: "hq",
      cells: [
        cell("a", {}),
        cell("b", {
          state: "silent",
          lastContactMs: 90_000,
          backlog: { entries: 3, bytes: 5, oldestMs: 1000 },
        }),
        cell("c", {
          state: "connected",
          lastContactMs: 400,
          nodesConnected: ["n1", "n2"],
          rung: "whole",
          streams: [
            { name: "t", entries: 2, bytes: 1 },
            { name: "u", entries: 3, bytes: 1 },
          ],
        }),
      ],
    },
    { tabs: true, colors: false },
  );
  assert.match(screen, /^hub hq, 3 cells$/m);
  assert.match(screen, /^ {2}a: a words$/m);
  assert.match(screen, /^a\tnever\tnever\t-\tnothing\t0\t\?$/m);
  assert.match(screen, /^b\tsilent\t90s ago\t-\t3 entries, 5.*, oldest 1s\t0\t\?$/m);
  assert.match(screen, /^c\tconnected\t0s ago\tn1,n2\tnothing\t5\twhole$/m);
  assert.match(
    renderFleetStatus({ hub: "hq", cells: [cell("a", {})] }, { tabs: true, colors: false }),
    /1 cell$/m,
  );
});
