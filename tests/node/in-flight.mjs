// A client sends ten edits without waiting for anything, while another one writes.
// All edits of both are to be in the end state, once each and in the order of their author.

import { AckingStore, CAPS } from "./acking.mjs";
import { LegacyStore } from "./legacy.mjs";
import { agreement, chance, pause, seed, tell, until, workspace } from "./scenario.mjs";
import { Session } from "./session.mjs";

const ROUNDS = 30;
const EDITS = 10;
const random = chance(seed());

async function attach(store, caps) {
  const session = new Session(workspace("in-flight"), { caps });
  session.add(store);
  await session.open();
  return store;
}

// Inserts at the front are where positions taken at the wrong state go wrong.
const frontInsert = (token) => (state) => {
  state.items.unshift({ id: token });
};
// An original client counts a seq for an edit that another's edit may have taken: what it does at
// one position may be read at another, but what it does under a key of its own may not get lost.
const ownKey = (token) => (state) => {
  state.keys[token] = true;
};

async function play(typist, other, edit, present) {
  await agreement(typist, other);
  other.edit((state) => Object.assign(state, { items: [], keys: {} }));
  await until(() => typist.state.keys, () => "the store is laid out");
  const lost = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const tokens = { typist: [], other: [] };
    const write = (who, store) => {
      const token = `${store.name}.${round}.${who}.${tokens[who].length}`;
      tokens[who].push(token);
      store.edit(edit(token));
    };
    for (let at = 0; at < EDITS; at += 1) {
      // The other's edits fall between, each on what it has heard until then.
      if (random.below(2) === 0) write("other", other);
      if (random.below(4) === 0) await pause(random.below(3));
      if (at === 0) for (let left = 0; left < EDITS; left += 1) write("typist", typist);
    }
    const all = [...tokens.typist, ...tokens.other];
    const has = (store) => all.every((token) => present(store.state, token));
    const arrived = () => [typist, other].every(has);
    try {
      await until(arrived, () => "every edit has arrived");
    } catch {
      const missing = all.filter((token) => !present(typist.state, token));
      lost.push({ round, missing, state: typist.state });
      break;
    }
    const state = await agreement(typist, other);
    const ordered = inOrder(state, tokens.typist) && inOrder(state, tokens.other);
    if (!ordered) lost.push({ round, state, tokens });
  }
  return { rounds: ROUNDS, lost };
}

// Each author's own inserts stand newest first, each once.
function inOrder(state, tokens) {
  const mine = state.items.map((item) => item.id).filter((id) => tokens.includes(id));
  return mine.length === 0 || mine.join() === [...tokens].reverse().join();
}

const inItems = (state, token) => state.items.filter((item) => item.id === token).length === 1;
const inKeys = (state, token) => state.keys[token] === true;

const acking = [
  await attach(new AckingStore("acking"), CAPS),
  await attach(new AckingStore("acking"), CAPS),
];
const acked = await play(...acking, frontInsert, inItems);

const legacy = [
  await attach(new LegacyStore("legacy")),
  await attach(new AckingStore("legacy"), CAPS),
];
const counted = await play(...legacy, ownKey, inKeys);

const stores = [...acking, ...legacy];
tell({
  acked,
  counted,
  nacks: stores.flatMap((store) => store.nacks ?? []),
  disagreements: stores.flatMap((store) => store.disagreements ?? []),
  strange: stores.flatMap((store) => store.strange),
  backwards: stores.reduce((sum, store) => sum + store.backwards, 0),
});
