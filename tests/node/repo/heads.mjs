// Who holds what: a client asks to be told which heads others keep, the server's among them.
// A keeps its documents and B does not; both have the gossip of remote heads switched on.

import { same, tell, until } from "../scenario.mjs";
import { MemoryStorage, Peer } from "./peers.mjs";

const WORKSPACE = "heads";
const a = await Peer.start("2", WORKSPACE, { gossip: true, storage: new MemoryStorage() });
const b = await Peer.start("2", WORKSPACE, { gossip: true });
const [server, keeper] = [a.serverStorage, await a.repo.storageId()];

const born = a.create({ step: 0 });
await a.saved(born);
const found = await b.find(born.url);
const told = new Map();
found.on("remote-heads", ({ storageId, heads, timestamp }) => {
  told.set(storageId, { heads, timestamp });
});
b.repo.subscribeToRemotes([server, keeper]);

const isTold = (storageId) => same([...(told.get(storageId)?.heads ?? [])], [...found.heads()]);
for (let step = 1; step <= 3; step += 1) {
  born.change((doc) => (doc.step = step));
  const both = () => b.state(found).step === step && isTold(server) && isTold(keeper);
  const missing = () => JSON.stringify({ step, server, keeper, told: [...told] });
  await until(both, () => `b is told what the server and a hold: ${missing()}`);
}
found.change((doc) => (doc.from = "b"));
await b.saved(found);
await until(() => isTold(keeper), () => "b is told that a holds what b wrote");

// Whoever asks late is told too.
const late = await Peer.start("2", WORKSPACE, { gossip: true });
late.repo.subscribeToRemotes([keeper]);
const lateHandle = await late.find(born.url);
const isToldLate = () => same(lateHandle.getSyncInfo(keeper)?.lastHeads, lateHandle.heads());
await until(isToldLate, () => "the latecomer is told what a holds");

// One subscriber less changes nothing for the others.
await late.gone();
born.change((doc) => (doc.step = 4));
await Promise.all([a.saved(born), b.saved(found)]);
await until(() => b.state(found).step === 4, () => "b goes on");

const changed = b.wire.filter(({ type }) => type === "remote-heads-changed");
const times = changed.flatMap(({ newHeads }) => Object.values(newHeads).map((of) => of.timestamp));
const names = { [server]: "server", [keeper]: "keeper" };
tell({
  server_has_a_name: typeof server === "string" && server.length > 0,
  told_of: [...told.keys()].map((id) => names[id] ?? id).sort(),
  sync_info: same(found.getSyncInfo(server)?.lastHeads, found.heads()),
  older_face: same(found.getRemoteHeads(server), found.heads()),
  addressed: changed.every((message) => message.targetId === b.adapter.peerId),
  strange_times: times.filter((time) => !(time > 1_600_000_000_000 && time < 10 ** 13)),
});
