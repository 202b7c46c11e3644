// A store of a client that understands `ack`: its edits have names, wait in a queue while it is
// offline, and are resent as they were.
//
// Edits made while others wait lie on top of each other and on one base: they are a chain. While
// one of them waits, the client shows the view of the last; what others do goes into `confirmed`
// only. An ack's patch turns the view of its edit into the state at its seq, so that when the whole
// chain is in, the two are one again. Until then a new session is sent all of it, also what was
// acknowledged to the old one: the server lays an edit on those of the chain that it knows.

import jsonpatch from "fast-json-patch";
import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";

export const CAPS = ["ack", "ready"];

export class AckingStore {
  constructor(name) {
    this.name = name;
    this.confirmed = { seq: -1, state: undefined };
    this.chain = []; // { id, seq, patch, view, acked }
    this.nacks = [];
    this.strange = [];
    this.backwards = 0;
    this.disagreements = []; // acks whose patch does not lead to the state that was confirmed
  }

  get state() {
    return this.chain.length > 0 ? this.chain.at(-1).view : this.confirmed.state;
  }

  get waiting() {
    return this.chain.filter((edit) => !edit.acked);
  }

  introduce(hello) {
    hello.seqs[this.name] = this.confirmed.seq;
  }

  opened() {
    for (const edit of this.chain) this.#send(edit);
  }

  edit(change) {
    const view = structuredClone(this.state);
    change(view);
    const patch = jsonpatch.compare(this.state, view);
    if (patch.length === 0) return null;
    const seq = this.chain.length > 0 ? this.chain[0].seq : this.confirmed.seq;
    const edit = { id: randomUUID(), seq, patch, view, acked: false };
    this.chain.push(edit);
    this.#send(edit);
    return edit.id;
  }

  #send({ id, seq, patch }) {
    this.session.send({ type: "patch", store: this.name, seq, id, patch });
  }

  hear(message) {
    switch (message.type) {
      case "snapshot":
        return this.#confirm(message.seq, message.state);
      case "patch":
        return this.#confirm(message.seq, applied(this.confirmed.state, message.patch));
      case "ack":
        return this.#acked(message);
      case "nack":
        this.nacks.push(message);
        this.#drop(message.id);
        return undefined;
      default:
        this.strange.push(message);
    }
  }

  #confirm(seq, state) {
    if (seq < this.confirmed.seq) this.backwards += 1;
    this.confirmed = { seq, state };
  }

  #acked({ id, seq, patch }) {
    const edit = this.chain.find((one) => one.id === id);
    if (!edit || edit.acked) return; // told again to a new session
    if (edit !== this.waiting[0]) throw new Error(`ack of ${id} out of order`);
    edit.acked = true;
    const state = applied(structuredClone(edit.view), patch);
    if (seq > this.confirmed.seq) {
      this.#confirm(seq, state);
    } else if (seq === this.confirmed.seq && !isDeepStrictEqual(state, this.confirmed.state)) {
      this.disagreements.push({ seq, acked: state, confirmed: this.confirmed.state });
    }
    if (this.waiting.length === 0) this.chain = [];
  }

  #drop(id) {
    this.chain = this.chain.filter((edit) => edit.id !== id);
    if (this.waiting.length === 0) this.chain = [];
  }
}

function applied(state, patch) {
  return jsonpatch.applyPatch(state, patch).newDocument;
}
