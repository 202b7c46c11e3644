// Three clients have a document open and say things that nobody keeps.

import { pause, tell, until } from "../scenario.mjs";
import { lines, Peer } from "./peers.mjs";

const WORDS = 20;
const peers = await Peer.all(lines(3), "ephemera");
const born = peers[0].create({ open: true });
await peers[0].saved(born);
const others = await Promise.all(peers.slice(1).map((peer) => peer.find(born.url)));
const handles = [born, ...others];
// It has another document open, and is nobody's audience.
const stranger = await Peer.start("2", "ephemera");
await stranger.saved(stranger.create({ open: true }));

const heard = peers.map(() => []);
handles.forEach((handle, at) => {
  handle.on("ephemeral-message", ({ senderId, message }) => heard[at].push([senderId, message]));
});
const names = peers.map((peer) => peer.adapter.peerId);
// What each must hear: all that the others say, each in the order in which it was said.
const due = names.map((own) => names.filter((name) => name !== own));
const complete = (at, count) => heard[at].length === due[at].length * count;

for (let word = 0; word < WORDS; word += 1) {
  handles.forEach((handle, at) => handle.broadcast({ from: names[at], word, bytes: [at, word] }));
  if (word % 7 === 0) await pause(5);
}
const told = () => JSON.stringify(heard.map((list) => list.length));
await until(() => heard.every((_, at) => complete(at, WORDS)), () => `all heard all: ${told()}`);

// Everybody says one thing more: what was said before it and came twice would have come by now.
handles.forEach((handle, at) => handle.broadcast({ from: names[at], word: WORDS }));
const last = () => heard.every((_, at) => complete(at, WORDS + 1));
await until(last, () => `all heard the last word: ${told()}`);
await pause(300);

const words = (list, name) =>
  list.filter(([sender]) => sender === name).map(([, { word }]) => word);
const inOrder = Array.from({ length: WORDS + 1 }, (_, word) => word);
const wrong = peers.flatMap((_, at) =>
  due[at].filter((name) => `${words(heard[at], name)}` !== `${inOrder}`),
);

// What went over the wire: the author's name, session and count, whoever passed it on.
const ephemera = peers.map((peer) => peer.wire.filter(({ type }) => type === "ephemeral"));
const kept = ephemera.every((list, at) =>
  due[at].every((name) => {
    const of = list.filter(({ senderId }) => senderId === name);
    const counts = of.map(({ count }) => count);
    const rising = counts.every((count, place) => place === 0 || count > counts[place - 1]);
    return rising && new Set(of.map(({ sessionId }) => sessionId)).size === 1;
  }),
);
const addressed = ephemera.every((list, at) =>
  list.every(({ targetId }) => targetId === names[at]),
);
const own = (list, at) => list.filter(({ senderId }) => senderId === names[at]).length;

tell({
  heard: heard.map((list) => list.length),
  wrong,
  misattributed: heard.flat().filter(([sender, { from }]) => sender !== from).length,
  echoes: ephemera.map(own),
  on_the_wire: ephemera.map((list) => list.length),
  session_and_count_kept: kept,
  addressed,
  stranger: stranger.wire.filter(({ type }) => type === "ephemeral").length,
});
