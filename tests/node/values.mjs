// A JSON client and a CRDT client live on one store: values of every type that one of them writes,
// as the other sees them, and what becomes of two edits of one value.
// The store declares `/body` as text.

import * as Automerge from "@automerge/automerge";
import { AckingStore, CAPS } from "./acking.mjs";
import { CrdtStore } from "./crdt.mjs";
import { agreement, tell, until, workspace } from "./scenario.mjs";
import { Session } from "./session.mjs";

const [json, crdt] = [new AckingStore("typed"), new CrdtStore("typed")];
for (const store of [json, crdt]) {
  const session = new Session(workspace("values"), { caps: CAPS });
  session.add(store);
  await session.open();
}
await until(() => json.state !== undefined, () => "the first snapshot is there");

// A JSON client writes.
const written = {
  integers: [0, 1, -1, 2 ** 31, -(2 ** 31), 2 ** 53 - 1, 2 ** 53, -(2 ** 53)],
  floats: [0.5, -0.1, 1e300, 5e-324, 1.7976931348623157e308, 123456.789],
  strings: [
    "",
    "plain",
    "é é",
    "日本語",
    "👩‍👩‍👧",
    "\u2028\u2029\u0000\t\"\\",
    "a/b~c",
  ],
  others: [null, true, false, [], {}, [[]], [{}]],
  nested: { a: { b: [{ c: [1, [2, { d: null }]] }] } },
  keys: { "": 1, "a/b": 2, "m~n": 3, " ": 4, "ключ": 5, "0": 6, "-": 7 },
};
json.edit((state) => Object.assign(state, written, { title: "first", body: "hello world" }));
const seenByCrdt = await agreement(json, crdt);
const kinds = {
  title: Automerge.isImmutableString(crdt.doc.title) ? "scalar" : typeof crdt.doc.title,
  body: Automerge.isImmutableString(crdt.doc.body) ? "scalar" : typeof crdt.doc.body,
};

// A CRDT client writes what JSON has no word for, and JSON has to make do.
crdt.edit((doc) => {
  doc.made = {
    counter: new Automerge.Counter(3),
    date: new Date(1_700_000_000_123),
    bytes: new Uint8Array([0, 255, 16]),
    infinite: Infinity,
    scalar: new Automerge.ImmutableString("scalar"),
    text: "text",
  };
  // Inside of a new object these would be taken for objects.
  doc.made.float = new Automerge.Float64(2);
  doc.made.uint = new Automerge.Uint(7);
});
await until(() => json.state.made, () => "the CRDT client's values have arrived");
// A copy: the client changes its state in place.
const made = structuredClone(json.state.made);

// Both edit one value at the same moment.
await agreement(json, crdt);
json.edit((state) => {
  state.body = "hello brave world";
  state.title = "SOL";
  state.made.counter = 10;
  state.made.text = "other text";
});
crdt.edit((doc) => {
  Automerge.splice(doc, ["body"], doc.body.length, 0, "!");
  doc.title = new Automerge.ImmutableString("ETH");
  doc.made.counter.increment(5);
});
const saved = () => json.waiting.length === 0 && crdt.saved;
await until(saved, () => "both edits are saved");
const merged = await agreement(json, crdt);

tell({
  json_seen_by_crdt: seenByCrdt,
  json_written: { ...written, title: "first", body: "hello world" },
  kinds,
  made,
  merged: {
    body: merged.body,
    title: merged.title,
    counter: merged.made.counter,
    text: merged.made.text,
  },
  kinds_after: {
    counter: crdt.doc.made.counter instanceof Automerge.Counter,
    text: typeof crdt.doc.made.text,
    body: typeof crdt.doc.body,
  },
  nacks: json.nacks,
  disagreements: json.disagreements,
  strange: [...json.strange, ...crdt.strange],
});
