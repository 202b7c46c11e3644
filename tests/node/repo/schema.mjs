// Two stock automerge-repo clients on a store with a schema: one breaks a rule, beside an edit that
// breaks none, while the other edits too. What is broken is put back for both.

import { tell } from "../scenario.mjs";
import { agreementOn, lines, Peer } from "./peers.mjs";

const WORKSPACE = "schema";
const server = process.argv[2];
const answer = await fetch(`${server}/v1/workspaces/${WORKSPACE}`);
const { automergeUrl } = (await answer.json()).stores.find(({ name }) => name === "ruled");
const [a, b] = await Peer.all(lines(2), WORKSPACE);
const [ofA, ofB] = [await a.find(automergeUrl), await b.find(automergeUrl)];
const views = [
  [a, ofA],
  [b, ofB],
];

ofA.change((doc) => {
  doc.n = -1;
  doc.sound = "kept";
  doc.list.push({ id: "bad" }, { id: "good", n: 1 });
});
ofB.change((doc) => {
  doc.other = "kept too";
});
const mended = (state) =>
  state.n >= 0 && state.sound && state.other && state.list.every((item) => item.n);
const state = await agreementOn(mended, ...views);

// Both go on.
ofA.change((doc) => {
  doc.n += 1;
});
const goneOn = (found) => found.n === state.n + 1;
const last = await agreementOn(goneOn, ...views);
tell({ state, last });
