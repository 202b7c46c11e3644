// One session speaks JSON for one store and CRDT for another. An original client and a pure CRDT
// client look at both stores and write into them too.

import { AckingStore, CAPS } from "./acking.mjs";
import { CrdtStore } from "./crdt.mjs";
import { LegacyStore } from "./legacy.mjs";
import { agreement, chance, pause, seed, tell, until, workspace } from "./scenario.mjs";
import { Session } from "./session.mjs";

const ROUNDS = 30;
const random = chance(seed());
const url = workspace("mixed");

const mixed = new Session(url, { caps: CAPS });
const original = new Session(url);
const crdt = new Session(url, { caps: CAPS });
const prefs = [new AckingStore("prefs"), new LegacyStore("prefs"), new CrdtStore("prefs")];
const notes = [new CrdtStore("notes"), new LegacyStore("notes"), new CrdtStore("notes")];
[mixed, original, crdt].forEach((session, at) => {
  session.add(prefs[at]);
  session.add(notes[at]);
});
for (const session of [mixed, original, crdt]) await session.open();

for (const stores of [prefs, notes]) {
  await until(() => stores[1].state, () => "a first snapshot is there");
  stores[1].edit((state) => (state.keys = {}));
  await until(() => stores.every((store) => store.state?.keys), () => "the stores are laid out");
}

const tokens = { prefs: [], notes: [] };
const quiet = (store) => (store.waiting ? store.waiting.length === 0 : (store.saved ?? true));
for (let round = 0; round < ROUNDS; round += 1) {
  for (let turn = 0; turn < 5; turn += 1) {
    const store = random.pick(random.pick([prefs, notes]));
    const token = `${round}.${turn}`;
    tokens[store.name].push(token);
    store.edit((state) => (state.keys[token] = turn));
    if (random.below(3) === 0) await pause(random.below(3));
  }
  for (const stores of [prefs, notes]) {
    const all = tokens[stores[0].name];
    const has = (store) => all.every((token) => token in store.state.keys);
    const arrived = () => stores.every((store) => quiet(store) && has(store));
    await until(arrived, () => `every edit of round ${round} has arrived`);
    await agreement(...stores);
  }
}

const stores = [...prefs, ...notes];
tell({
  edits: tokens.prefs.length + tokens.notes.length,
  kept: Object.keys(prefs[0].state.keys).length + Object.keys(notes[0].state.keys).length,
  strange: [...stores.flatMap((store) => store.strange), ...original.heard],
  nacks: prefs[0].nacks,
  disagreements: prefs[0].disagreements,
  backwards: prefs[0].backwards + prefs[1].backwards + notes[1].backwards,
});
