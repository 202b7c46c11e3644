// Two original clients. In every round both edit one list at the same moment: one inserts at the
// front, which fast-json-patch sends as changes of every element; the other edits a later element,
// or inserts at the front as well.

import { LegacyStore } from "./legacy.mjs";
import { agreement, chance, same, seed, tell, until, workspace } from "./scenario.mjs";
import { Session } from "./session.mjs";

const ROUNDS = 200;
const random = chance(seed());

// Elements as applications have them: with an id, without, and plain.
const KINDS = [
  (name) => ({ id: name, done: false }),
  (name) => ({ title: name, done: false }),
  (name) => name,
];
const touch = (items, at) => {
  if (typeof items[at] === "string") items[at] += " (edited)";
  else items[at].done = true;
};

const sessions = [0, 1].map(() => new Session(workspace("front-inserts")));
const [ada, bob] = sessions.map((session) => session.add(new LegacyStore("list")));
for (const session of sessions) await session.open();
await agreement(ada, bob);

async function round(number, kind, rival) {
  const start = Array.from({ length: 2 + random.below(7) }, (_, at) => kind(`${number}.${at}`));
  ada.edit((state) => (state.items = structuredClone(start)));
  await until(() => bob.told === ada.seq, () => `round ${number} is laid out`);
  const seq = ada.seq;

  // The clients patch their states in place, so what is expected shares nothing with them.
  const expected = structuredClone(start);
  ada.edit((state) => state.items.unshift(kind(`${number}.ada`)));
  if (rival === "edit") {
    const at = random.below(start.length);
    bob.edit((state) => touch(state.items, at));
    touch(expected, at);
    expected.unshift(kind(`${number}.ada`));
  } else {
    bob.edit((state) => state.items.unshift(kind(`${number}.bob`)));
  }
  // Two edits, two seqs; both clients have heard of the second.
  const heard = () => ada.told === seq + 2 && bob.told === seq + 2;
  await until(heard, () => `both are at ${seq + 2}: ${ada.told}, ${bob.told}`);

  const { items } = await agreement(ada, bob);
  if (rival === "edit") return same(items, expected) || { start, expected, items };
  const [one, two, ...rest] = items;
  const both = [kind(`${number}.ada`), kind(`${number}.bob`)];
  const kept = same([one, two], both) || same([two, one], both);
  return (kept && same(rest, start)) || { start, items };
}

async function play(rival) {
  const outcomes = [];
  for (let number = 0; number < ROUNDS; number += 1) {
    outcomes.push(await round(number, KINDS[number % KINDS.length], rival));
  }
  const lost = outcomes.filter((outcome) => outcome !== true);
  return { rounds: ROUNDS, kept: ROUNDS - lost.length, lost: lost.slice(0, 3) };
}

tell({
  edit: await play("edit"),
  insert: await play("insert"),
  strange: [...ada.strange, ...bob.strange, ...sessions.flatMap((session) => session.heard)],
  backwards: ada.backwards + bob.backwards,
});
