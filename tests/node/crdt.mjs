// A store spoken in CRDT: a stock Automerge document and its sync messages in base64.

import * as Automerge from "@automerge/automerge";

export class CrdtStore {
  constructor(name) {
    this.name = name;
    this.doc = Automerge.init();
    this.sync = Automerge.initSyncState();
    this.strange = [];
  }

  // The server's sync state lives as long as the session, and so does ours.
  introduce(hello) {
    this.sync = Automerge.initSyncState();
    hello.sync ??= {};
    hello.sync[this.name] = this.#next();
  }

  opened() {}

  edit(change) {
    this.doc = Automerge.change(this.doc, change);
    this.flush();
  }

  flush() {
    if (!this.session.online) return;
    const message = this.#next();
    if (message) this.session.send({ type: "sync", store: this.name, message });
  }

  #next() {
    const [sync, message] = Automerge.generateSyncMessage(this.doc, this.sync);
    this.sync = sync;
    return message && Buffer.from(message).toString("base64");
  }

  hear(message) {
    if (message.type !== "sync") {
      this.strange.push(message);
      return;
    }
    const bytes = Buffer.from(message.message, "base64");
    [this.doc, this.sync] = Automerge.receiveSyncMessage(this.doc, this.sync, bytes);
    this.flush();
  }

  // Whether the server has said that it holds every change of ours.
  get saved() {
    const theirs = this.sync.theirHeads ?? [];
    return Automerge.hasHeads(this.doc, theirs) && sameHeads(theirs, Automerge.getHeads(this.doc));
  }

  get state() {
    return asJson(Automerge.toJS(this.doc));
  }
}

function sameHeads(a, b) {
  return a.length === b.length && [...a].sort().every((hash, at) => hash === [...b].sort()[at]);
}

// A value of a document as the JSON clients of the same store are to see it.
export function asJson(value) {
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "number") return Number.isFinite(value) ? value : null;
  if (typeof value === "bigint") return Number(value);
  if (value instanceof Date) return value.getTime();
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (value instanceof Automerge.Counter) return value.value;
  if (Automerge.isImmutableString(value)) return value.toString();
  if (Array.isArray(value)) return value.map(asJson);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, asJson(inner)]));
}
