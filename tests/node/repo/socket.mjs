// A socket that speaks the automerge-repo dialect by hand, with the codec of the stock client.

import { cbor, generateAutomergeUrl, parseAutomergeUrl } from "@automerge/automerge-repo";
import * as Automerge from "@automerge/automerge";
import WebSocket from "ws";
import { until } from "../scenario.mjs";
import { endpoint } from "./peers.mjs";

export const freshId = () => parseAutomergeUrl(generateAutomergeUrl()).documentId;

export class Socket {
  static async open(workspace, settings = {}) {
    const raw = new Socket();
    raw.name = `raw-${crypto.randomUUID()}`;
    Object.assign(raw, { heard: [], strange: [], pings: 0, closed: null, let_in: 0 });
    raw.socket = new WebSocket(endpoint(workspace), settings);
    raw.socket.on("ping", () => (raw.pings += 1));
    raw.socket.on("close", (code) => (raw.closed = code));
    raw.socket.on("error", () => {});
    raw.socket.on("message", (bytes, isBinary) => {
      if (isBinary) raw.heard.push(cbor.decode(bytes));
      else raw.strange.push(`${bytes}`);
    });
    await until(() => raw.socket.readyState === WebSocket.OPEN, () => "a socket is open");
    return raw;
  }

  // One that the server has let in.
  static async joined(workspace, name, settings) {
    const raw = await Socket.open(workspace, settings);
    raw.name = name ?? raw.name;
    raw.join();
    raw.peer = await raw.hear("peer");
    raw.server = raw.peer.senderId;
    raw.let_in = raw.heard.length;
    return raw;
  }

  join(fields = {}) {
    const peerMetadata = { storageId: undefined, isEphemeral: true };
    this.send({ type: "join", peerMetadata, supportedProtocolVersions: ["1"], ...fields });
  }

  send(message) {
    const target = this.server === undefined ? {} : { targetId: this.server };
    this.bytes(cbor.encode({ senderId: this.name, ...target, ...message }));
  }

  bytes(bytes) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(bytes);
  }

  // A stock client's first message about a document of which it has nothing.
  request(documentId, fields = {}) {
    const [, data] = Automerge.generateSyncMessage(Automerge.init(), Automerge.initSyncState());
    this.send({ type: "request", documentId, data, ...fields });
  }

  all(type) {
    return this.heard.filter((message) => message.type === type);
  }

  // The first message of a type, about a document if one is given. It stays among what was heard.
  async hear(type, documentId) {
    const wanted = (one) => one.type === type && (!documentId || one.documentId === documentId);
    const what = () => `${type} comes; closed: ${this.closed}, heard: ${this.told()}`;
    await until(() => this.heard.some(wanted) || this.closed !== null, what);
    const found = this.heard.find(wanted);
    if (!found) throw new Error(`the server closed: ${what()}`);
    return found;
  }

  told() {
    return JSON.stringify(this.heard.map(({ type, message }) => [type, message]));
  }

  // What the server says to all that was sent so far: `closed`, `error`, both, or `nothing`; a
  // socket that is still open must answer a request that follows.
  async fate() {
    const probe = freshId();
    this.probe = probe;
    this.request(probe);
    const answered = () => this.all("doc-unavailable").some((one) => one.documentId === probe);
    const what = () => `the server answers or closes; heard: ${this.told()}`;
    await until(() => this.closed !== null || answered(), what);
    const said = this.all("error").length > 0 ? ["error"] : [];
    if (this.closed !== null) said.push("closed");
    return said.join(", ") || "nothing";
  }

  // The same in full, of a socket that has said one thing: every answer, errors with their code,
  // and the code of the close.
  async verdict() {
    await this.fate();
    const probe = this.probe;
    const isAnswer = ({ type, documentId }) => type !== "doc-unavailable" || documentId !== probe;
    const code = (message) => message.split(":")[0];
    const word = ({ type, message }) => (type === "error" ? `error ${code(message)}` : type);
    const said = this.heard.slice(this.let_in).filter(isAnswer).map(word);
    if (this.closed !== null) said.push(`closed ${this.closed}`);
    return said.join(", ") || "nothing";
  }

  // Waits until the server has closed, and returns the code.
  async end() {
    await until(() => this.closed !== null, () => `the server closes; heard: ${this.told()}`);
    return this.closed;
  }
}
