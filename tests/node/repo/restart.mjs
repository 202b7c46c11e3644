// The server dies and comes back on the same data while its clients stay. Whoever comes first finds
// all that the server had said it holds; when the clients are back, all that they wrote is there.

import { chance, seed, tell, until } from "../scenario.mjs";
import { agreementOn, ask, lines, Peer } from "./peers.mjs";

const KILLS = 3;
const random = chance(seed());
const [a, b] = await Peer.all(lines(2), "restart");
const born = a.create({ log: [] });
await a.saved(born);
const views = [
  [a, born],
  [b, await b.find(born.url)],
];
const storage = a.serverStorage;

const written = [];
const write = ([peer, handle]) => {
  const name = `${peer === a ? "a" : "b"}.${written.length}`;
  written.push(name);
  handle.change((doc) => doc.log.splice(random.below(doc.log.length + 1), 0, name));
};
const complete = (state) => state.log.length === written.length;
const missing = ({ log }) => written.filter((name) => !log.includes(name));

let forgotten = 0;
for (let kill = 0; kill < KILLS; kill += 1) {
  views.forEach(write);
  views.forEach(write);
  await Promise.all(views.map(([peer, handle]) => peer.saved(handle)));
  await agreementOn(complete, ...views);
  const held = written.length;
  // Nobody may help the server to remember.
  await Promise.all(views.map(([peer]) => peer.gone()));
  await ask("kill");
  views.forEach(write);
  await ask("start");
  const newcomer = await Peer.start("2", "restart");
  const first = newcomer.state(await newcomer.find(born.url));
  forgotten += missing(first).filter((name) => written.indexOf(name) < held).length;
  newcomer.cut();
  await Promise.all(views.map(([peer]) => peer.back()));
  await agreementOn(complete, ...views);
}

// This time the clients find their way back by themselves.
views.forEach(write);
await ask("kill");
await until(() => views.every(([peer]) => !peer.online), () => "the clients notice");
views.forEach(write);
await ask("start");
await until(() => views.every(([peer]) => peer.online), () => "the clients come back");
views.forEach(write);
const last = await agreementOn(complete, ...views);
await Promise.all(views.map(([peer, handle]) => peer.saved(handle)));

const sameStorage = a.serverStorage === storage;
tell({ kills: KILLS + 1, forgotten, lost: missing(last), same_storage: sameStorage });
