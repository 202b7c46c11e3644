// Two JSON clients and two CRDT clients on one store. In each round some of them lose the network,
// all of them go on editing, and then they meet again: every edit of everybody is there, once.

import { AckingStore, CAPS } from "./acking.mjs";
import { CrdtStore } from "./crdt.mjs";
import { agreement, chance, pause, seed, tell, until, workspace } from "./scenario.mjs";
import { Session } from "./session.mjs";

const ROUNDS = 20;
const random = chance(seed());

const stores = [
  new AckingStore("shared"),
  new AckingStore("shared"),
  new CrdtStore("shared"),
  new CrdtStore("shared"),
];
for (const store of stores) new Session(workspace("offline"), { caps: CAPS }).add(store);
for (const store of stores) await store.session.open();

await until(() => stores[0].state, () => "the first snapshot is there");
stores[0].edit((state) => Object.assign(state, { items: [], keys: {} }));
await until(() => stores.every((store) => store.state?.keys), () => "the store is laid out");
await agreement(...stores);

let made = 0;
const tokens = [];
function edit(store) {
  const token = `t${(made += 1)}`;
  tokens.push(token);
  const at = random.below(3);
  store.edit((state) => {
    if (at === 0) state.items.push({ id: token });
    else if (at === 1) state.items.unshift({ id: token });
    else state.items.splice(Math.floor(state.items.length / 2), 0, { id: token });
    state.keys[token] = { by: token };
  });
}

const lost = [];
for (let round = 0; round < ROUNDS; round += 1) {
  const away = stores.filter(() => random.below(2) === 0);
  // Cut right after an edit: whether it arrived, nobody knows.
  for (const store of away) {
    edit(store);
    if (random.below(2) === 0) await pause(random.below(4));
    store.session.cut();
  }
  for (let turn = 0; turn < 12; turn += 1) {
    edit(random.pick(stores));
    if (random.below(3) === 0) await pause(random.below(4));
  }
  for (const store of away) await store.session.open();
  const saved = (store) => (store.waiting ? store.waiting.length === 0 : store.saved);
  await until(() => stores.every(saved), () => `round ${round} is saved`);
  const state = await agreement(...stores);
  const ids = state.items.map((item) => item.id);
  const missing = tokens.filter((token) => state.keys[token]?.by !== token || !ids.includes(token));
  if (missing.length > 0 || ids.length !== tokens.length) lost.push({ round, missing, ids });
}

const json = stores.slice(0, 2);
tell({
  rounds: ROUNDS,
  edits: tokens.length,
  lost,
  nacks: json.flatMap((store) => store.nacks),
  disagreements: json.flatMap((store) => store.disagreements),
  strange: stores.flatMap((store) => store.strange),
  backwards: json.reduce((sum, store) => sum + store.backwards, 0),
});
