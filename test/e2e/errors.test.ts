/** Bad input and damaged folders through the command line: the sentence, the exit code, nothing left running. */
import { strict as assert } from "node:assert";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import {
  makeTempDir,
  processesOf,
  skerry,
  skerryText,
  startTestSite,
  takeDown,
  type NodeInfo,
  type TestSite,
} from "../support/site.ts";
import { waitFor } from "../support/wait.ts";

let site: TestSite;
let other: string;
let empty: string;

before(async () => {
  other = makeTempDir("errors");
  empty = join(other, "empty");
  mkdirSync(empty);
  site = await startTestSite({ name: "errors", subnet: 152, nodes: 2 });
});

after(async () => {
  assert.deepEqual(await takeDown(other, []), [], "a refused start left processes");
  assert.deepEqual(await site.close(), []);
});

const dir = (name: string) => join(other, name);

async function refuses(
  args: readonly string[],
  expected: { code: number; says: readonly (string | RegExp)[] },
): Promise<void> {
  const { code, stdout, stderr } = await skerry(args);
  const what = `skerry ${args.join(" ")}\n${stdout}${stderr}`;
  assert.equal(code, expected.code, what);
  assert.equal(stdout, "", what);
  for (const part of expected.says)
    assert.ok(
      typeof part === "string" ? stderr.includes(part) : part.test(stderr),
      `${what}\nlacks ${part}`,
    );
  assert.doesNotMatch(stderr, /\n {4}at |Unexpected token|undefined|\[object/, what);
}

const usage = 2;
const failed = 1;
const at = (name: string) => ["--data", site.dataDir(name)];
const token = async (args: readonly string[]) =>
  (await skerryText(["token", "create", ...args])).trim();

test("every command's help has an example", async () => {
  const commands = [
    ...["", "up", "down", "hub", "demo", "status", "token", "token create", "kubeconfig", "data"],
    ...["data tail", "data query", "data import", "drill", "drill list", "drill quick", "doctor"],
    ...["config", "config check", "server", "server list", "server add", "server remove"],
    ...["server replace", "server move-leader", "server add-witness", "server renew-witness"],
    ...["witness", "witness run", "witness status", "witness renew", "restore", "recover"],
    ...["backup", "backup now", "backup list", "backup verify", "backup key"],
  ];
  const bad: string[] = [];
  const left = [...commands];
  /** A few at a time: each is a process of its own. */
  const ask = async () => {
    for (let command = left.pop(); command !== undefined; command = left.pop()) {
      const { code, stdout } = await skerry([...command.split(" ").filter(Boolean), "--help"]);
      if (code !== 0 || !stdout.includes("\nExample")) bad.push(command);
    }
  };
  await Promise.all([ask(), ask(), ask()]);
  assert.deepEqual(bad, []);
  const top = await skerryText(["--help"]);
  const listed = [...top.matchAll(/^ {2}([a-z]+)(?: \[| {2})/gm)].map(([, name]) => name);
  for (const name of listed)
    assert.ok(name === "help" || commands.includes(name ?? ""), `${name} is not looked at here`);
});

test("unknown flags and commands, wrong values: the flag is named and what it takes", async () => {
  const fresh = ["up", "--data", dir("fresh"), "--detach"];
  const cases: [string[], string[]][] = [
    [
      ["status", "--dta", "x"],
      ["unknown option '--dta'", "Did you mean --data?"],
    ],
    [["stauts"], ["unknown command 'stauts'", "Did you mean status?"]],
    [
      ["down", "--pods", "some", ...at("n1")],
      ["--pods", 'expected "keep" or "stop"'],
    ],
    [
      [...fresh, "--cell", "A_b", "--node", "n"],
      ["cell: expected lower-case letters", '"A_b"'],
    ],
    [
      [...fresh, "--cell", "c", "--node", "N 1"],
      ["node: expected lower-case letters", '"N 1"'],
    ],
    [
      [...fresh, "--cell", "c", "--node", "n", "--host", "300.1.1.1"],
      ["host: expected an IP address of this machine", '"300.1.1.1"'],
    ],
    [
      [...fresh, "--cell", "c", "--node", "n", "--api-port", "99999"],
      ["apiPort: expected a port from 0 to 65535", "--api-port"],
    ],
    [fresh, ["cell: missing", "skerry up --cell NAME --node NAME"]],
    [["config", "check", ...at("n1"), "--hub", "--unknown"], ["unknown option '--unknown'"]],
    [
      ["demo", "--dir", dir("d"), "--for", "5x"],
      ['--for: "5x" is not a duration', "90s"],
    ],
    [["token", "create", "--ttl", "5", ...at("n1")], ['--ttl: "5" is not a duration']],
    [["drill", "quick", "--seed", "x"], ['--seed: "x" is not a whole number']],
    [["data", "query", "s", "--limit", "0", ...at("n1")], ['--limit: "0" is not a whole number']],
    [["data", "query", "s", "--from", "soon", ...at("n1")], ['--from: "soon" is not a time']],
    [
      ["data", "query", "s", "--of", "stream", "--data", site.hubDir],
      ["--cell: missing", "skerry status --data"],
    ],
    [["data", "import", "x.csv", ...at("n1")], ["--stream"]],
    [
      ["token", "create", "--app", "Bad Name", ...at("n1")],
      ["--app", "lower-case letters"],
    ],
    [["token", "create", "--cell", "c", ...at("n1")], ["--cell: on a hub only"]],
    [["token", "create", "--app", "a", "--data", site.hubDir], ["not on a hub"]],
  ];
  await Promise.all(cases.map(([args, says]) => refuses(args, { code: usage, says })));
  assert.ok(!existsSync(dir("fresh")), "a refused start made a folder");
  await refuses(["data", "query", "s", "--data", site.hubDir], {
    code: failed,
    says: ['there is no collection or stream "s"'],
  });
});

test("folders that hold nothing, or not what is asked for", async () => {
  const nothing = [`${empty} holds neither a node nor a hub`, "name the folder with --data"];
  const worker = ["holds no administrator's certificate", "run this on a server machine"];
  const cases: [string[], string[]][] = [
    [["status", "--data", empty], nothing],
    [["kubeconfig", "--data", empty], nothing],
    [["token", "create", "--data", empty], nothing],
    [["token", "create", "--app", "a", "--data", empty], nothing],
    [["data", "tail", "s", "--data", empty], nothing],
    [["kubeconfig", ...at("n2")], worker],
    [["token", "create", ...at("n2")], worker],
  ];
  await Promise.all(cases.map(([args, says]) => refuses(args, { code: failed, says })));
  assert.equal(await skerryText(["down", "--data", empty]), `nothing was running in ${empty}\n`);
  assert.deepEqual(readdirSync(empty), []);
});

test("a data folder keeps being the node and cell it is", async () => {
  await refuses(["up", "--detach", "--node", "n9", ...at("n1")], {
    code: usage,
    says: ['node: "n9" was given, but', 'belongs to node "n1"', "use another --data folder"],
  });
  await refuses(["up", "--detach", "--cell", "shop", ...at("n1")], {
    code: usage,
    says: ['cell: "shop" was given, but', 'belongs to cell "errors"'],
  });
  await refuses(["hub", "--detach", "--data", dir("named"), "--port", "abc"], {
    code: usage,
    says: ["port: "],
  });
});

test("ports in use are named with their address, and nothing stays behind", async () => {
  await refuses(
    [
      "up",
      "--data",
      dir("taken"),
      "--cell",
      "c",
      "--node",
      "x",
      "--host",
      site.host("n1"),
      "--detach",
    ],
    {
      code: failed,
      says: [/another process listens on 127\.0\.152\.11:\d+/, "choose another port"],
    },
  );
  await refuses(["hub", "--data", dir("hub2"), "--host", "127.0.152.10", "--detach"], {
    code: failed,
    says: ["port 9443 of 127.0.152.10 is in use", "choose another port", "hub.log"],
  });
  assert.deepEqual(processesOf(other), []);
});

describe("join tokens", () => {
  let folders = 0;
  /** Each in a folder of its own, so that several may be refused at the same time. */
  const join_ = (name: string, value: string, more: readonly string[] = []) => [
    ...["up", "--data", dir(`join-${++folders}`), "--node", name, "--host", "127.0.152.19"],
    ...["--detach", "--join", value, "--server", site.node("n1").peers, ...more],
  ];

  test("--join without --server, the other way round, and what is no token at all", async () => {
    const says = ["joining a cell takes both: --join TOKEN --server HOST:PORT"];
    const up = ["up", "--data", dir("join"), "--node", "x", "--detach"];
    await refuses([...up, "--join", "x"], {
      code: usage,
      says: ["server: missing beside --join", ...says],
    });
    await refuses([...up, "--server", "127.0.0.1:1"], {
      code: usage,
      says: ["join: missing beside --server", ...says],
    });
    await refuses(join_("x", "garbage"), {
      code: usage,
      says: ['token: it does not begin with "skt1."', "copy the whole line"],
    });
    const cut = (await token(["--node", "x", ...at("n1")])).slice(0, -20);
    await refuses(join_("x", cut), { code: usage, says: ["cut short or malformed"] });
  });

  test("a token of another cell, for another name, expired, tampered with, or towards nobody", async () => {
    const own = await token(["--node", "n8", ...at("n1")]);
    await refuses(join_("n8", own, ["--cell", "shop"]), {
      code: usage,
      says: ['cell: "shop" was given, but the token is for cell "errors"'],
    });
    const place = own.length - 5;
    const tampered = own.slice(0, place) + (own[place] === "A" ? "B" : "A") + own.slice(place + 1);
    const short = await token(["--node", "n8", "--ttl", "1ms", ...at("n1")]);
    const cases: [string[], (string | RegExp)[]][] = [
      [join_("n9", own), ['was made for "n8", not for "n9"', "agent.log"]],
      [
        join_("n8", own.replace("skt1.errors.", "skt1.shop.")),
        ["is not the shop.skerry that the token was made for", "the secret was not sent"],
      ],
      [join_("n8", tampered), ["is not the errors.skerry that the token was made for"]],
      [
        join_("n8", short),
        [/token \w+ expired at 2/, "create a new one with `skerry token create`"],
      ],
      [
        join_("n8", own).slice(0, -1).concat("127.0.152.99:7445"),
        ["cannot reach 127.0.152.99:7445"],
      ],
    ];
    await Promise.all(cases.map(([args, says]) => refuses(args, { code: failed, says })));
    assert.deepEqual(processesOf(other), []);
  });

  test("a token works once", async () => {
    const own = await token(["--node", "n3", ...at("n1")]);
    const first = join_("n3", own);
    try {
      assert.equal((await skerry(first)).code, 0);
      await refuses(join_("n3", own), {
        code: failed,
        says: [/token \w+ was used before/, "create a new one"],
      });
    } finally {
      await skerryText(["down", ...first.slice(1, 3)]);
    }
  });
});

test("a bad CSV file imports nothing, and an unknown stream is named", async () => {
  await site.kube(["apply", "-f", "-"], {
    input: JSON.stringify({
      apiVersion: "skerry.dev/v1alpha1",
      kind: "Stream",
      metadata: { name: "readings" },
      spec: {},
    }),
  });
  await waitFor(async () => (await skerry(["data", "query", "readings", ...at("n1")])).code === 0, {
    what: "the stream on n1",
  });
  const file = dir("bad.csv");
  writeFileSync(file, "celsius,site\n1,a\n2,b\n3\n");
  const into = (stream: string) => ["data", "import", file, "--stream", stream, ...at("n1")];
  await refuses(into("readings"), { code: failed, says: ["line 4: 1 fields, the header names 2"] });
  assert.equal(await skerryText(["data", "query", "readings", "--json", ...at("n1")]), "");
  writeFileSync(file, "celsius,site\n");
  await refuses(into("readings"), { code: failed, says: ["bad.csv has no rows after its header"] });
  writeFileSync(file, "celsius,site\n1,a\n");
  const unknown = ['there is no stream "readigns"'];
  await refuses(into("readigns"), { code: failed, says: unknown });
  await refuses(["data", "query", "readigns", ...at("n1")], {
    code: failed,
    says: ['there is no collection or stream "readigns"', "readings"],
  });
  await refuses([...into("readings"), "--durability", "twice"], {
    code: failed,
    says: ["durability"],
  });
  await refuses(["data", "import", dir("none.csv"), "--stream", "readings", ...at("n1")], {
    code: failed,
    says: [`cannot read ${dir("none.csv")}`, "name a CSV file with a header line"],
  });
});

// From here on the site is down: its folders are damaged one by one.
describe("damaged folders", () => {
  let whole: string;

  before(async () => {
    for (const name of ["n2", "n1", "hub"]) await site.down(name);
    whole = dir("whole");
    cpSync(site.dataDir("n1"), whole, { recursive: true });
  });

  const restore = () => {
    rmSync(site.dataDir("n1"), { recursive: true, force: true });
    cpSync(whole, site.dataDir("n1"), { recursive: true });
  };
  const path = (file: string) => join(site.dataDir("n1"), file);
  const upAgain = () => ["up", "--detach", ...at("n1")];

  test("nothing answers: status, data and tokens say so and name the address", async () => {
    const says = [`nothing answers at http://${site.host("n1")}:7480`, "start it with skerry up"];
    await refuses(["status", ...at("n1")], { code: failed, says });
    await refuses(["data", "query", "readings", ...at("n1")], { code: failed, says });
    await refuses(["token", "create", ...at("n1")], {
      code: failed,
      says: ["nothing answers at https://"],
    });
    await refuses(["status", "--data", site.hubDir], {
      code: failed,
      says: ["nothing answers at https://"],
    });
  });

  test("a torn node.json is named, and the flags of the first start mend it", async () => {
    truncateSync(path("node.json"), 40);
    await refuses(upAgain(), {
      code: failed,
      says: [
        `${path("node.json")} is damaged: its checksum does not match`,
        "move it away",
        "--cell",
      ],
    });
    rmSync(path("node.json"));
    const flags = ["--cell", "errors", "--node", "n1", "--host", site.host("n1"), "--json"];
    const outcome = await skerry([...upAgain(), ...flags]);
    assert.equal(outcome.code, 0, outcome.stderr);
    assert.equal((JSON.parse(outcome.stdout) as NodeInfo).node, "n1");
    // Nothing was lost: the same authority, the same ledger.
    assert.match(await site.kube(["get", "streams"]), /readings/);
    await site.down("n1");
    restore();
  });

  for (const [file, advice] of [
    ["ledger.db", "restore a copy of it"],
    ["streams.db", "move the file (with its -wal and -shm) away"],
  ] as const) {
    test(`a torn ${file} is named with what to do, and nothing is left running`, async () => {
      writeFileSync(path(file), "this is not a database".repeat(200));
      await refuses(upAgain(), { code: failed, says: [`${path(file)} is damaged`, advice] });
      assert.deepEqual(processesOf(site.dataDir("n1")), []);
      restore();
    });
  }

  test("a damaged mirror.db is set aside and built anew", async () => {
    writeFileSync(path("mirror.db"), "this is not a database".repeat(200));
    await site.up("n1");
    assert.ok(
      readdirSync(site.dataDir("n1")).some((name) => name.startsWith("mirror.db.damaged-")),
    );
    assert.equal((await site.status("n1")).cell, "errors");
    assert.match(await site.kube(["get", "streams"]), /readings/);
    await site.down("n1");
    restore();
  });

  test("torn agent.json, admin.json and hub.info.json are named, and a start without them mends it", async () => {
    for (const [command, file] of [
      ["status", "agent.json"],
      ["kubeconfig", "admin.json"],
    ] as const) {
      writeFileSync(path(file), "{");
      const says = [`${path(file)} is damaged`, "remove it; every start writes it anew"];
      await refuses([command, ...at("n1")], { code: failed, says });
      rmSync(path(file));
    }
    await site.up("n1");
    assert.equal((await site.status("n1")).cell, "errors");
    assert.equal((await skerry(["kubeconfig", ...at("n1")])).code, 0);
    await site.down("n1");
    writeFileSync(join(site.hubDir, "hub.info.json"), "{");
    await refuses(["hub", "--detach", "--data", site.hubDir], {
      code: failed,
      says: ["hub.info.json is damaged", "remove it"],
    });
    rmSync(join(site.hubDir, "hub.info.json"));
  });

  test("a damaged hub.db or cells.json is named in the hub's refusal", async () => {
    for (const file of ["cells.json", "hub.db"]) {
      writeFileSync(join(site.hubDir, file), "this is not what was written".repeat(200));
      await refuses(["hub", "--detach", "--data", site.hubDir], {
        code: failed,
        says: [`${join(site.hubDir, file)} is damaged`, "hub.log"],
      });
      rmSync(join(site.hubDir, file));
    }
    assert.deepEqual(processesOf(site.dir), []);
  });
});
