// One client creates a document, another finds it, and both edit it: one after the other, at the
// same moment, and text letter by letter.

import { chance, seed, tell } from "../scenario.mjs";
import { agreement, agreementOn, lines, Peer } from "./peers.mjs";

const random = chance(seed());
const [a, b] = await Peer.all(lines(2), "converge");
const born = a.create({ title: "first", map: { kept: 1 }, list: ["x", "y"], text: "hello world" });
await a.saved(born);
const found = await b.find(born.url);
const seen = b.state(found);
const views = [
  [a, born],
  [b, found],
];

found.change((doc) => (doc.title = "second"));
const answered = await agreementOn((state) => state.title === "second", ...views);

// Without a word to each other.
await Promise.all([a.gone(), b.gone()]);
born.change((doc) => {
  doc.map.a = { deep: [1, 2] };
  doc.list.unshift("first of a");
  doc.list.push("last of a");
});
a.splice(born, ["text"], 0, 5, "HELLO");
found.change((doc) => {
  doc.map.b = true;
  delete doc.map.kept;
  doc.list.splice(1, 1);
  doc.list.push("last of b");
});
b.splice(found, ["text"], 11, 0, "!");
await Promise.all([a.back(), b.back()]);
const merged = await agreementOn((state) => state.map.a && state.map.b, ...views);

// Both type at once; every letter is another one.
const LETTERS = "abcdefghijklmnopqrstuvwxyzäöüßабвгд";
const typed = { a: [], b: [] };
born.change((doc) => (doc.page = ""));
await agreementOn((state) => state.page === "", ...views);
for (const letter of LETTERS) {
  const [name, [peer, handle]] = random.pick([
    ["a", views[0]],
    ["b", views[1]],
  ]);
  typed[name].push(letter);
  const length = peer.state(handle).page.length;
  peer.splice(handle, ["page"], random.below(length + 1), 0, letter);
  if (random.below(3) === 0) await new Promise((resolve) => setTimeout(resolve, random.below(40)));
}
const page = (await agreementOn((state) => state.page.length === LETTERS.length, ...views)).page;
await Promise.all([a.saved(born), b.saved(found)]);

const [newcomer] = await Peer.all(["2"], "converge");
const stranger = await newcomer.find(born.url);
await agreement(...views, [newcomer, stranger]);

tell({
  seen,
  answered: answered.title,
  merged,
  letters_lost: [...LETTERS].filter((letter) => !page.includes(letter)),
  both_typed: typed.a.length > 0 && typed.b.length > 0,
});
