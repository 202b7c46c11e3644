// A JSON client and a stock automerge-repo client live on one store: one that the JSON client made,
// under the id that the server lists it by, and one that the other client made, under its own id.

import * as Automerge from "@automerge/automerge";
import { AckingStore, CAPS } from "../acking.mjs";
import { chance, seed, tell, until, workspace } from "../scenario.mjs";
import { Session } from "../session.mjs";
import { agreementOn, Peer } from "./peers.mjs";

const ROUNDS = 60;
const WORKSPACE = "json";
const random = chance(seed());
const server = process.argv[2];

async function jsonClient(name) {
  const store = new AckingStore(name);
  const session = new Session(workspace(WORKSPACE), { caps: CAPS });
  session.add(store);
  await session.open();
  await until(() => store.state !== undefined, () => `the first snapshot of ${name} is there`);
  return store;
}
const acked = (store) =>
  until(() => store.waiting.length === 0, () => `the edits in ${store.name} are acknowledged`);
const listed = async () => {
  const answer = await fetch(`${server}/v1/workspaces/${WORKSPACE}`);
  return (await answer.json()).stores;
};
// A JSON store with the face of a peer's handle.
const view = (store) => [{ state: () => store.state }, store];

// The JSON client's store.
const made = await jsonClient("made");
const initial = { title: "first", log: [], nested: { a: [1, null, true] } };
made.edit((state) => Object.assign(state, initial));
await acked(made);
const entry = (await listed()).find(({ name }) => name === "made");
const peer = await Peer.start("2", WORKSPACE);
const { ImmutableString, Counter } = peer.library;
const found = await peer.find(entry.automergeUrl);
const seen = peer.state(found);
const kind = (value) => (value instanceof ImmutableString ? "scalar" : typeof value);
const kinds = { title: kind(found.doc().title) };

const written = [];
for (let round = 0; round < ROUNDS; round += 1) {
  const name = `${round}`;
  const at = random.below(4);
  if (random.below(2) === 0) {
    made.edit((state) => state.log.splice(at, 0, `json.${name}`));
    written.push(`json.${name}`);
  } else {
    found.change((doc) => doc.log.splice(Math.min(at, doc.log.length), 0, `repo.${name}`));
    written.push(`repo.${name}`);
  }
  if (random.below(4) === 0) await new Promise((resolve) => setTimeout(resolve, random.below(30)));
}
const whole = (state) => state.log.length === ROUNDS;
const { log } = await agreementOn(whole, [peer, found], view(made));
await acked(made);
await peer.saved(found);

// What JSON has no word for.
found.change((doc) => {
  doc.made = {
    counter: new Counter(3),
    date: new Date(1_700_000_000_123),
    bytes: new Uint8Array([0, 255, 16]),
    infinite: Infinity,
    scalar: new ImmutableString("scalar"),
    text: "text",
  };
  doc.made.uint = new Automerge.Uint(7);
});
await until(() => made.state.made?.uint, () => "the values have come to the JSON client");
const asJsonSees = structuredClone(made.state.made);
made.edit((state) => {
  state.made.counter = 5;
  state.made.text = "text and more";
});
found.change((doc) => doc.made.counter.increment(10));
const adds = (state) => state.made.counter === 15 && state.made.text === "text and more";
await agreementOn(adds, [peer, found], view(made));
kinds.counter = found.doc().made.counter instanceof Counter ? "counter" : "other";
kinds.text = kind(found.doc().made.text);

// The other client's document.
const born = peer.create({ title: "from repo", body: "hello world" });
await peer.saved(born);
const joined = await jsonClient(born.documentId);
const seenByJson = structuredClone(joined.state);
joined.edit((state) => {
  state.body = "hello brave world";
  state.added = "by json";
});
peer.splice(born, ["body"], 0, 5, "HELLO");
const both = (state) => state.added === "by json" && state.body === "hello brave world";
const merged = await agreementOn(both, [peer, born], view(joined));
await Promise.all([acked(joined), peer.saved(born)]);
kinds.added = kind(born.doc().added);

const stores = await listed();
const sameHeads = (name, handle) => {
  const { heads } = stores.find((store) => store.name === name);
  return `${[...heads].sort()}` === `${[...Automerge.getHeads(handle.doc())].sort()}`;
};
tell({
  seen,
  kinds,
  lost: written.filter((name) => !log.includes(name)),
  as_json_sees: asJsonSees,
  seen_by_json: seenByJson,
  merged,
  urls: {
    made: entry.automergeUrl === found.url,
    born: stores.find(({ name }) => name === born.documentId)?.automergeUrl === born.url,
  },
  listed: { made: sameHeads("made", found), born: sameHeads(born.documentId, born) },
  nacks: [...made.nacks, ...joined.nacks],
  strange: [...made.strange, ...joined.strange],
  disagreements: [...made.disagreements, ...joined.disagreements],
  backwards: made.backwards + joined.backwards,
});
