// The stock Presence class between two clients: who is there, with what, and who left.

import { tell, until } from "../scenario.mjs";
import { Peer } from "./peers.mjs";

const [a, b] = await Peer.all(["2", "2"], "presence");
const { Presence } = a.library;
const born = a.create({ open: true });
await a.saved(born);
const found = await b.find(born.url);

const start = (handle, name) => {
  const presence = new Presence({ handle });
  const left = [];
  presence.on("goodbye", ({ peerId }) => left.push(peerId));
  presence.start({ initialState: { name, cursor: 0 }, heartbeatMs: 200, peerTtlMs: 60_000 });
  return { presence, left };
};
const ours = start(born, "a");
const theirs = start(found, "b");
const shows = ({ presence }, peer) => presence.getPeerStates().value[peer.adapter.peerId]?.value;
const names = () => [shows(ours, b)?.name, shows(theirs, a)?.name];
await until(() => `${names()}` === "b,a", () => `both see each other: ${names()}`);
const met = { a_sees: shows(ours, b), b_sees: shows(theirs, a) };

ours.presence.broadcast("cursor", 7);
await until(() => shows(theirs, a).cursor === 7, () => "b sees where a is");
theirs.presence.broadcast("selection", { from: 1, to: 5 });
await until(() => shows(ours, b).selection, () => "a sees what b selected");
const moved = { a_sees: shows(ours, b), b_sees: shows(theirs, a) };

theirs.presence.stop();
await until(() => ours.left.length > 0, () => "a sees that b left");
tell({
  met,
  moved,
  left: ours.left.every((id) => id === b.adapter.peerId),
  still_shown: shows(ours, b) !== undefined,
});
