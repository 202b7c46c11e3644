// A stock automerge-repo client that writes as long as it is told to, through any number of lost
// connections: what ../writer.mjs is in the other dialect, with the same commands and answers. Its
// argument is the URL of the document.

import { createInterface } from "node:readline";
import { chance, pause, seed, until } from "../scenario.mjs";
import { options, Peer, watchdog } from "./peers.mjs";

const FIND_MS = 2_000;
const random = chance(seed());
const [url] = options;
const peer = await Peer.offline("2", "kill", { gossip: true });
let handle;

const written = [];
let held = 0; // how many of them, from the first one on, the server has said it holds
let going = false;

function look() {
  const heads = handle?.getRemoteHeads(peer.serverStorage);
  if (!heads?.length) return;
  let log;
  try {
    ({ log } = handle.view(heads).doc());
  } catch {
    return; // it holds what others wrote and we have not heard of yet
  }
  const theirs = new Set(log?.map(String));
  while (held < written.length && theirs.has(written[held])) held += 1;
}

const late = () => pause(FIND_MS).then(() => Promise.reject(new Error("late")));

// Nothing is tried again by itself: after a kill newcomers are first.
function leave() {
  peer.adapter.retryInterval = 0;
  peer.adapter.disconnect();
}

async function write() {
  peer.dial();
  while (going && !peer.online) await pause(2);
  peer.adapter.retryInterval = 0;
  while (going) {
    try {
      handle ??= await Promise.race([peer.find(url), late()]);
    } catch {
      await pause(10);
      continue;
    }
    const name = `repo.${written.length}`;
    written.push(name);
    handle.change((doc) => doc.log.splice(random.below(doc.log.length + 1), 0, name));
    await pause(5 + random.below(25));
    look();
  }
  look();
  leave();
}

async function catchUp(names) {
  peer.dial();
  const complete = () => peer.state(handle)?.log.length === names;
  await until(complete, () => `the list has ${names} names`);
  leave();
}

let writing = Promise.resolve();
for await (const line of createInterface({ input: process.stdin })) {
  watchdog.refresh();
  going = line === "go";
  if (going) {
    writing = write();
    continue;
  }
  await writing;
  if (line !== "halt") await catchUp(Number(line.split(" ").at(-1)));
  const facts = { written, held: written.slice(0, held), state: handle && peer.state(handle) };
  process.stdout.write(`${JSON.stringify(facts)}\n`);
}
process.exit(0);
