// One WebSocket session with a workspace, and the stores that are spoken over it.
// What a message means is the business of its store: legacy.mjs, acking.mjs, crdt.mjs.

import WebSocket from "ws";

export class Session {
  // With `caps` the session is one of a new client; without, it is spoken as the original was.
  constructor(url, { caps } = {}) {
    this.url = url;
    this.caps = caps;
    this.stores = new Map();
    this.heard = []; // messages that belong to no store: ready, error, presence
    this.socket = null;
  }

  add(store) {
    this.stores.set(store.name, store);
    store.session = this;
    return store;
  }

  get online() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  // Resolves when hello has been sent; see `settled` for its answer.
  async open() {
    const socket = new WebSocket(this.url);
    socket.on("message", (bytes, isBinary) => {
      if (isBinary) throw new Error("the server sent a binary frame");
      if (this.socket === socket) this.hear(JSON.parse(bytes));
    });
    await new Promise((resolve, reject) => {
      socket.once("open", resolve);
      socket.once("error", reject);
    });
    // A server that is killed takes the socket with it; `online` says so to whoever asks.
    socket.on("error", () => {});
    this.socket = socket;
    this.send(this.hello());
    for (const store of this.stores.values()) store.opened();
  }

  hello() {
    const hello = { type: "hello", seqs: {} };
    for (const store of this.stores.values()) store.introduce(hello);
    if (this.caps) {
      hello.caps = this.caps;
      hello.stores = [...this.stores.keys()];
    }
    return hello;
  }

  hear(message) {
    const store = this.stores.get(message.store);
    if (store) store.hear(message);
    else this.heard.push(message);
  }

  send(message) {
    if (this.online) this.socket.send(JSON.stringify(message));
  }

  async close() {
    const { socket } = this;
    if (!socket || socket.readyState === WebSocket.CLOSED) return;
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.close();
    await closed;
  }

  // As when the network goes away: nothing is said, and what is under way is lost.
  cut() {
    const { socket } = this;
    this.socket = null;
    socket?.terminate();
  }
}
