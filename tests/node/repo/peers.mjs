// Stock automerge-repo clients of both lines, 1.x and 2.x, with one face.
//
// Facts may be gathered from any server that speaks the dialect: AUTOMERGE_ENDPOINT names another.

import { createInterface } from "node:readline";
import { asJson } from "../crdt.mjs";
import { same, until } from "../scenario.mjs";

const LINES = {
  1: ["automerge-repo-1", "automerge-repo-1-websocket", "BrowserWebSocketClientAdapter"],
  2: [
    "@automerge/automerge-repo",
    "@automerge/automerge-repo-network-websocket",
    "WebSocketClientAdapter",
  ],
};
const RETRY_MS = 250;
const WATCHDOG_MS = 200_000;

// The packages tell their troubles on stdout, which belongs to the facts.
console.log = console.error;

// The stock adapters throw out of a socket's event, or into nowhere, where a socket breaks while it
// is opened or written to; then they try again.
const BROKEN = /Websocket not ready|ECONNRESET|EPIPE|socket hang up|before the connection was/;
for (const trouble of ["uncaughtException", "unhandledRejection"]) {
  process.on(trouble, (error) => {
    if (BROKEN.test(`${error?.message} ${error?.code}`)) return;
    console.error(trouble, error);
    process.exit(1);
  });
}

// Who is told what to do, step by step, refreshes it with each step.
export const watchdog = setTimeout(() => {
  console.error(`not done after ${WATCHDOG_MS} ms`);
  process.exit(1);
}, WATCHDOG_MS);
watchdog.unref();

// The arguments after the server and the seed.
export const options = process.argv.slice(4);

// The lines of the clients that a scenario is played with, as its arguments name them.
export function lines(count) {
  if (options.length !== count) throw new Error(`give ${count} lines of clients: 1 or 2`);
  return options;
}

export function endpoint(workspace) {
  const server = process.argv[2].replace(/^http/, "ws");
  return process.env.AUTOMERGE_ENDPOINT ?? `${server}/v1/workspaces/${workspace}/automerge`;
}

let answers;

// Asks whoever started the script to do something to the server; resolves when it is done.
export async function ask(what) {
  answers ??= createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  process.stdout.write(`${JSON.stringify({ ask: what })}\n`);
  const { done } = await answers.next();
  if (done) throw new Error(`nobody answers: ${what}`);
}

// What a repo keeps, for as long as the process lives.
export class MemoryStorage {
  #chunks = new Map();

  async load(key) {
    return this.#chunks.get(key.join("/"))?.data;
  }

  async save(key, data) {
    this.#chunks.set(key.join("/"), { key, data });
  }

  async remove(key) {
    this.#chunks.delete(key.join("/"));
  }

  async loadRange(prefix) {
    const isUnder = ({ key }) => prefix.every((part, at) => part === key[at]);
    return [...this.#chunks.values()].filter(isUnder);
  }

  async removeRange(prefix) {
    for (const { key } of await this.loadRange(prefix)) await this.remove(key);
  }
}

export class Peer {
  // A client that has not been online yet.
  static async offline(line, workspace, { gossip = false, storage, peerId } = {}) {
    const [repoPackage, socketPackage, adapterName] = LINES[line];
    const library = await import(repoPackage);
    const adapters = await import(socketPackage);
    const peer = new Peer();
    Object.assign(peer, { line, library, wire: [] });
    peer.repo = new library.Repo({
      peerId: peerId ?? `${line}-${crypto.randomUUID()}`,
      enableRemoteHeadsGossiping: gossip,
      storage,
      network: [],
    });
    peer.adapter = new adapters[adapterName](endpoint(workspace), RETRY_MS);
    peer.adapter.on("message", (message) => peer.wire.push(message));
    peer.joined = false;
    return peer;
  }

  static async start(line, workspace, settings) {
    const peer = await Peer.offline(line, workspace, settings);
    await peer.back();
    return peer;
  }

  static async all(lines, workspace) {
    return Promise.all(lines.map((line) => Peer.start(line, workspace)));
  }

  get online() {
    return this.repo.peers.length > 0;
  }

  // The storage id that the server goes by.
  get serverStorage() {
    return this.repo.getStorageIdOfPeer(this.adapter.remotePeerId);
  }

  create(value) {
    return this.repo.create(value);
  }

  // Rejects when the document is unavailable.
  async find(url) {
    if (this.line === "2") return this.repo.find(url);
    const handle = this.repo.find(url);
    await handle.whenReady(["ready", "unavailable"]);
    if (!handle.isReady()) throw new Error(`Document ${url} is unavailable`);
    return handle;
  }

  state(handle) {
    if (!handle.isReady()) return undefined;
    if (this.line === "2") return asJson(handle.doc());
    return JSON.parse(JSON.stringify(handle.docSync()));
  }

  // Edits a text by character.
  splice(handle, path, at, removed, inserted) {
    handle.change((doc) => this.library.splice(doc, path, at, removed, inserted));
  }

  // Whether the server has said that it holds every change of ours: the "saved" sign.
  isSaved(handle) {
    const theirs = handle.getRemoteHeads(this.serverStorage);
    return theirs !== undefined && same([...theirs].sort(), [...handle.heads()].sort());
  }

  async saved(...handles) {
    await this.savedWithin(undefined, ...handles);
  }

  async savedWithin(patienceMs, ...handles) {
    const all = () => handles.every((handle) => this.isSaved(handle));
    const what = () => `the server has said that it holds all of client ${this.line}'s edits`;
    await until(all, what, patienceMs);
  }

  // The network goes away: nothing is said.
  cut() {
    this.adapter.retryInterval = 0;
    this.adapter.socket?.terminate();
  }

  async gone() {
    this.cut();
    await until(() => !this.online, () => "the client knows that it is offline");
  }

  // The connection breaks on our side only: the server still takes the socket for a live one.
  // Returns the socket.
  strand() {
    const { adapter } = this;
    const { socket } = adapter;
    for (const event of ["open", "close", "message", "error"]) {
      socket.removeEventListener(event, adapter[`on${event[0].toUpperCase()}${event.slice(1)}`]);
    }
    socket.on("error", () => {});
    adapter.emit("peer-disconnected", { peerId: adapter.remotePeerId });
    return socket;
  }

  // The network is there again; it returns without waiting for the server.
  dial() {
    this.adapter.retryInterval = RETRY_MS;
    if (this.joined) {
      this.adapter.connect(this.adapter.peerId, this.adapter.peerMetadata);
    } else {
      this.joined = true;
      this.repo.networkSubsystem.addNetworkAdapter(this.adapter);
    }
  }

  async back() {
    this.dial();
    await until(() => this.online, () => `the server lets client ${this.line} join`);
  }
}

// Waits until all show the same state of a document, and returns it. Each view is a peer and its
// handle.
export async function agreement(...views) {
  const states = () => views.map(([peer, handle]) => peer.state(handle));
  const agreed = () => {
    const [first, ...others] = states();
    return first !== undefined && others.every((state) => same(state, first));
  };
  const told = () => JSON.stringify(states()).slice(0, 2_000);
  await until(agreed, () => `all agree: ${told()}`);
  return states()[0];
}

// Waits until all show a state that pleases, and the same one.
export async function agreementOn(wanted, ...views) {
  const states = () => views.map(([peer, handle]) => peer.state(handle));
  const all = () => states().every((state) => state !== undefined && wanted(state));
  await until(all, () => `all show ${wanted}: ${JSON.stringify(states()).slice(0, 2_000)}`);
  return agreement(...views);
}
