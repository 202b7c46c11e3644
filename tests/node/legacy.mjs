// A store as the original clients speak it: fast-json-patch in its default mode, and a seq that the
// client counts by itself, because an accepted edit gets no answer.

import jsonpatch from "fast-json-patch";

export class LegacyStore {
  constructor(name) {
    this.name = name;
    this.seq = -1;
    this.state = undefined;
    this.told = -1; // the last seq that came from the server
    this.strange = []; // messages that the original protocol does not have
    this.backwards = 0;
  }

  introduce(hello) {
    hello.seqs[this.name] = this.seq;
  }

  opened() {}

  // Edits the state in place and sends what fast-json-patch makes of the difference.
  edit(change) {
    const next = structuredClone(this.state);
    change(next);
    this.patch(jsonpatch.compare(this.state, next));
    this.state = next;
  }

  // Sends operations as they are; the state is the caller's business.
  patch(patch) {
    if (patch.length === 0) return;
    this.session.send({ type: "patch", store: this.name, seq: this.seq, patch });
    this.seq += 1;
  }

  hear(message) {
    if (message.type !== "snapshot" && message.type !== "patch") {
      this.strange.push(message);
      return;
    }
    if (message.seq < this.told) this.backwards += 1;
    this.told = message.seq;
    this.seq = message.seq;
    this.state =
      message.type === "snapshot"
        ? message.state
        : jsonpatch.applyPatch(this.state, message.patch).newDocument;
  }
}
