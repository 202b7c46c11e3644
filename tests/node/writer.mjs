// A CRDT client that writes as long as it is told to, through any number of lost connections.
// Each line of its input is `go` (connect and write), `halt` (stop, and let go of the socket) or
// `catch up N` (connect and sync, without writing, until the list has N names). The last two are
// answered by a line: the names it wrote, those that the server said it holds, and the state.

import { createInterface } from "node:readline";
import * as Automerge from "@automerge/automerge";
import { CrdtStore } from "./crdt.mjs";
import { chance, pause, seed, until, workspace } from "./scenario.mjs";
import { Session } from "./session.mjs";

const random = chance(seed());
const store = new CrdtStore("shared");
const session = new Session(workspace("kill"), { caps: ["ready"] });
session.add(store);

const written = [];
let held = 0; // how many of them, from the first one on, the server has said it holds
let going = false;

function writeOne() {
  const token = `node.${written.length}`;
  written.push(token);
  store.edit((doc) => doc.log.push(token));
}

function look() {
  const heads = store.sync.theirHeads;
  if (!heads?.length || !Automerge.hasHeads(store.doc, heads)) return;
  const theirs = new Set(Automerge.view(store.doc, heads).log?.map(String));
  while (held < written.length && theirs.has(written[held])) held += 1;
}

async function write() {
  while (going) {
    try {
      await session.open();
    } catch {
      await pause(10);
      continue;
    }
    while (going && session.online) {
      if (store.doc.log) writeOne();
      look();
      await pause(5 + random.below(25));
    }
  }
  look();
  session.cut();
}

async function catchUp(names) {
  await session.open();
  await until(() => store.doc.log?.length === names, () => `the list has ${names} names`);
  session.cut();
}

let writing = Promise.resolve();
for await (const line of createInterface({ input: process.stdin })) {
  going = line === "go";
  if (going) {
    writing = write();
    continue;
  }
  await writing;
  if (line !== "halt") await catchUp(Number(line.split(" ").at(-1)));
  const facts = { written, held: written.slice(0, held), state: store.state };
  process.stdout.write(`${JSON.stringify(facts)}\n`);
}
