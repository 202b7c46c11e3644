// Clients lose the network and come back: with edits made meanwhile, and twice in a row under the
// same name before the server has noticed that they were gone.

import { chance, pause, seed, tell } from "../scenario.mjs";
import { agreementOn, lines, Peer } from "./peers.mjs";

const ROUNDS = 6;
const random = chance(seed());
const [a, b] = await Peer.all(lines(2), "offline");
const born = a.create({ log: [] });
await a.saved(born);
const found = await b.find(born.url);
const views = [
  [a, born],
  [b, found],
];

const written = [];
const write = ([peer, handle]) => {
  const name = `${peer === a ? "a" : "b"}.${written.length}`;
  written.push(name);
  handle.change((doc) => doc.log.splice(random.below(doc.log.length + 1), 0, name));
};
const complete = (state) => state.log.length === written.length;

for (let round = 0; round < ROUNDS; round += 1) {
  const away = random.pick([views, [views[0]], [views[1]]]);
  await Promise.all(away.map(([peer]) => peer.gone()));
  for (let edit = 0; edit < 4; edit += 1) views.forEach(write);
  await Promise.all(away.map(([peer]) => peer.back()));
  views.forEach(write);
  await agreementOn(complete, ...views);
}
const offline = written.length;

// From the server's side the old sockets are still there when the new ones join, and what is under
// way on the old ones is lost.
for (let round = 0; round < ROUNDS; round += 1) {
  const stranded = [];
  for (let again = 0; again < 2; again += 1) {
    views.forEach(write);
    for (const [peer] of views) {
      stranded.push(peer.strand());
      peer.dial();
    }
    views.forEach(write);
    await pause(random.below(30));
  }
  await agreementOn(complete, ...views);
  // That the server now sees them go must not take the new ones along.
  for (const socket of stranded) socket.terminate();
  await pause(random.below(30));
  views.forEach(write);
  await agreementOn(complete, ...views);
}
const { log } = await agreementOn(complete, ...views);
await Promise.all([a.saved(born), b.saved(found)]);

tell({
  offline,
  reconnects: written.length - offline,
  lost: written.filter((name) => !log.includes(name)),
  twice: log.length - new Set(log).size,
});
