// Presence across the dialects: a stock Presence and a JSON session see each other.

import WebSocket from "ws";
import { pause, tell, until, workspace } from "../scenario.mjs";
import { Peer } from "./peers.mjs";

const WORKSPACE = "crossing";
const a = await Peer.start("2", WORKSPACE);
const born = a.create({ open: true });
await a.saved(born);

const socket = new WebSocket(workspace(WORKSPACE));
const heard = [];
socket.on("message", (text) => heard.push(JSON.parse(text)));
await new Promise((resolve) => socket.once("open", resolve));
const say = (message) => socket.send(JSON.stringify(message));
say({ type: "hello", caps: ["presence", "ready"] });
await until(() => heard.some(({ type }) => type === "ready"), () => "the JSON session is greeted");
// It shows itself before the other does.
say({ type: "presence", data: { name: "json", cursor: 1 } });

const { Presence } = a.library;
const presence = new Presence({ handle: born });
const left = [];
presence.on("goodbye", ({ peerId }) => left.push(peerId));
presence.start({ initialState: { name: "a" }, heartbeatMs: 200, peerTtlMs: 1_000 });
const shown = () => Object.entries(presence.getPeerStates().value);
const who = () => JSON.stringify(shown());
await until(() => shown().length === 1, () => `a sees the JSON session: ${who()}`);
const [peerId, first] = shown()[0];
const met = first.value;

const ofA = () => heard.filter(({ type }) => type === "presence").map(({ data }) => data);
await until(() => ofA().some((data) => data?.name === "a"), () => "the JSON session sees a");
presence.broadcast("cursor", 7);
await until(() => ofA().at(-1)?.cursor === 7, () => "the JSON session sees where a is");
const seen = heard.filter(({ type }) => type === "presence").at(-1);

say({ type: "presence", data: { cursor: 2 } });
await until(() => shown()[0]?.[1].value.cursor === 2, () => "a sees where the JSON session is");
// Longer than a peer may be silent: the server says that the session is still there.
await pause(2_500);
const still_there = shown().map(([id]) => id === peerId);

presence.stop();
await until(() => ofA().at(-1) === null, () => "the JSON session sees that a left");
presence.start({ initialState: { name: "a again" }, heartbeatMs: 200, peerTtlMs: 60_000 });
await until(() => shown().length === 1, () => "a sees the JSON session again");
socket.close();
await until(() => left.length > 0, () => "a sees that the JSON session left");

tell({
  met,
  user: seen.user,
  data: seen.data,
  still_there,
  goodbye: left.every((id) => id === peerId),
  named_after: /^statehouse-[0-9a-f]+:s\d+$/.test(peerId),
});
