// What no stock client says, or says seldom: every case is played on a server where two stock
// clients share a document, and after every case they must still hear each other.
//
// Arguments: the cases to play; without any, all that are for any server.

import { randomBytes } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { cbor, documentIdToBinary } from "@automerge/automerge-repo";
import * as Automerge from "@automerge/automerge";
import { pause, tell, until } from "../scenario.mjs";
import { agreementOn, options, Peer } from "./peers.mjs";
import { freshId, Socket } from "./socket.mjs";

const WORKSPACE = "raw";
const peers = await Peer.all(["2", "2"], WORKSPACE);
const born = peers[0].create({ round: 0 });
await peers[0].saved(born);
const found = await peers[1].find(born.url);
const shared = born.documentId;

let round = 0;
async function bystanders() {
  round += 1;
  const [writer, reader] = round % 2 === 0 ? [born, found] : [found, born];
  writer.change((doc) => (doc.round = round));
  await until(() => reader.doc().round === round, () => `the bystanders hear each other: ${round}`);
}
const open = () => Socket.open(WORKSPACE);
const joined = (name, settings) => Socket.joined(WORKSPACE, name, settings);
const uleb = (n) => (n < 128 ? [n] : [(n % 128) | 128, ...uleb(Math.floor(n / 128))]);
// A sync message with one Bloom filter: so many entries, bits for each, probes, and these bits.
const filter = (entries, perEntry, probes, bits) => {
  const bloom = [...uleb(entries), ...uleb(perEntry), ...uleb(probes), ...bits];
  return Uint8Array.from([0x42, 0, 0, 1, 0, ...uleb(bloom.length), ...bloom, 0]);
};

const cases = {
  async joins() {
    const sockets = await Promise.all([open(), open(), open(), open()]);
    const [plain, versionless, unnamed, strange] = sockets;
    plain.join();
    versionless.send({ type: "join", peerMetadata: { storageId: undefined, isEphemeral: true } });
    // With keys that nobody knows.
    const more = { more: undefined, metadata: { x: [1, 2 ** 40, null] } };
    unnamed.join({ peerMetadata: {}, supportedProtocolVersions: undefined, ...more });
    strange.join({ supportedProtocolVersions: ["2", "3"] });
    const answers = [];
    for (const raw of [plain, versionless, unnamed]) {
      const { senderId, targetId, peerMetadata, selectedProtocolVersion } = await raw.hear("peer");
      answers.push({
        named: typeof senderId === "string" && senderId.length > 0,
        addressed: targetId === raw.name,
        version: selectedProtocolVersion,
        ephemeral: peerMetadata.isEphemeral,
        storage: typeof peerMetadata.storageId,
      });
    }
    const refusal = await strange.hear("error");
    await until(() => strange.closed !== null, () => "an unsupported client's socket is closed");
    const storages = [plain, versionless].map((raw) => raw.heard[0].peerMetadata.storageId);
    return {
      answers,
      refusal: typeof refusal.message,
      let_in: strange.all("peer").length,
      one_storage: storages[0] === storages[1],
    };
  },

  async before_join() {
    const documentId = freshId();
    const made = Automerge.from({ from: "nobody" });
    const [, data] = Automerge.generateSyncMessage(made, Automerge.initSyncState());
    const word = { documentId: shared, count: 1, sessionId: "s", data: cbor.encode(1) };
    const words = {
      sync: { type: "sync", documentId, data },
      request: { type: "request", documentId: shared, data },
      ephemeral: { type: "ephemeral", ...word },
      unknown: { type: "arrive" },
    };
    const fates = {};
    for (const [name, message] of Object.entries(words)) {
      const raw = await open();
      raw.server = peers[0].adapter.remotePeerId;
      raw.send(message);
      await raw.end();
      fates[name] = await raw.verdict();
    }
    const honest = await joined();
    honest.request(documentId);
    const { type } = await honest.hear("doc-unavailable", documentId);
    return { fates, made: type };
  },

  async garbage() {
    const deep = Buffer.concat([Buffer.alloc(20_000, 0x81), Buffer.from([0])]);
    const claims = (head) => Buffer.concat([Buffer.from(head), Buffer.from("type")]);
    const frames = {
      empty: Buffer.alloc(0),
      noise: Buffer.from(randomBytes(64).map((byte) => byte | 0x1c)),
      number: cbor.encode(7),
      list: cbor.encode(["join"]),
      nothing: cbor.encode(null),
      no_type: cbor.encode({ senderId: "x" }),
      odd_type: cbor.encode({ type: 7, senderId: "x" }),
      half: cbor.encode({ type: "join", senderId: "x" }).subarray(0, 9),
      deep,
      long_map: claims([0xbb, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]),
      long_text: claims([0x7b, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]),
      long_bytes: claims([0xa1, 0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
      endless: Buffer.from([0xbf, 0x64, 0x74, 0x79, 0x70, 0x65]),
    };
    const fates = { before: {}, after: {} };
    for (const [name, frame] of Object.entries(frames)) {
      for (const when of ["before", "after"]) {
        const raw = when === "before" ? await open() : await joined();
        raw.bytes(frame);
        if (when === "before") await raw.end();
        fates[when][name] = await raw.verdict();
        raw.socket.terminate();
        await bystanders();
      }
    }
    return fates;
  },

  async text_frame() {
    const raw = await joined();
    raw.socket.send(JSON.stringify({ type: "hello", seqs: {} }));
    return { fate: await raw.verdict(), strange: raw.strange.length };
  },

  async unknown_type() {
    const raw = await joined();
    raw.send({ type: "arrive", more: { deep: [undefined, 1.5] } });
    raw.send({ type: "frobnicate", documentId: shared, data: new Uint8Array(3) });
    return { fate: await raw.fate() };
  },

  async odd_fields() {
    const data = cbor.encode("x");
    const fields = { documentId: shared, data, count: 1, sessionId: "s" };
    const ephemeral = { type: "ephemeral", ...fields };
    const heads = { type: "remote-heads-changed", documentId: shared };
    const misspelt = shared.slice(0, -1) + (shared.endsWith("1") ? "2" : "1");
    const wrong = {
      sync_without_data: { type: "sync", documentId: shared },
      sync_of_text: { type: "sync", documentId: shared, data: "text" },
      sync_of_nothing: { type: "sync", documentId: shared, data: new Uint8Array() },
      sync_of_no_document: { type: "sync", data },
      sync_not_base58: { type: "sync", documentId: "not base58 0OIl", data },
      sync_bad_checksum: { type: "sync", documentId: misspelt, data },
      sync_of_a_path: { type: "sync", documentId: "..%2f..%2fdata", data },
      request_of_nothing: { type: "request", documentId: "", data },
      request_of_bytes: { type: "request", documentId: new Uint8Array(3), data },
      count_negative: { ...ephemeral, count: -1 },
      count_text: { ...ephemeral, count: "1" },
      session_number: { ...ephemeral, sessionId: 7 },
      word_of_nothing: { ...ephemeral, data: undefined },
      subscription_text: { type: "remote-subscription-change", add: "x", remove: { a: 1 } },
      heads_list: { ...heads, newHeads: [1] },
      heads_not_base58: { ...heads, newHeads: { s: { heads: ["!"] } } },
      sender_missing: { type: "sync", senderId: undefined, documentId: shared, data },
      join_by_nobody: { type: "join", senderId: undefined },
      join_by_a_map: { type: "join", senderId: { a: 1 }, supportedProtocolVersions: "1" },
      join_by_another: { type: "join", senderId: "somebody else" },
    };
    const fates = {};
    for (const [name, message] of Object.entries(wrong)) {
      const raw = await joined();
      raw.send(message);
      fates[name] = await raw.verdict();
      raw.socket.terminate();
      await bystanders();
    }
    return fates;
  },

  // In the name of one who is there, of one who is not, and of the server.
  async other_senders() {
    const [raw, other] = [await joined(), await joined()];
    other.request(shared);
    await other.hear("sync", shared);
    const made = Automerge.from({ from: "another" });
    const [, data] = Automerge.generateSyncMessage(made, Automerge.initSyncState());
    const word = { documentId: shared, count: 1, sessionId: "s", data: cbor.encode("false") };
    const ids = [];
    for (const senderId of [other.name, "nobody"]) {
      ids.push(freshId());
      raw.send({ type: "sync", senderId, documentId: ids.at(-1), data });
      raw.send({ type: "request", senderId, documentId: shared, data });
      raw.send({ type: "remote-subscription-change", senderId, add: ["x"] });
    }
    for (const senderId of [other.name, raw.server]) {
      raw.send({ type: "ephemeral", senderId, ...word });
    }
    const verdict = await raw.verdict();
    raw.send({ type: "ephemeral", ...word, data: cbor.encode("true") });
    await other.hear("ephemeral", shared);
    const told = ({ senderId, data: said }) => [senderId === raw.name, cbor.decode(said)];
    const words = other.all("ephemeral").map(told);
    const honest = await joined();
    for (const id of ids) {
      honest.request(id);
      await honest.hear("doc-unavailable", id);
    }
    return { verdict, words, made: honest.all("sync").length };
  },

  async joins_again() {
    const raw = await joined();
    raw.request(shared);
    await raw.hear("sync", shared);
    raw.join();
    await until(() => raw.all("peer").length === 2, () => "the second join is answered");
    const [first, second] = raw.all("peer");
    const before = raw.all("sync").length;
    await bystanders();
    await until(() => raw.all("sync").length > before, () => "it still hears the edits");
    const alike = isDeepStrictEqual(first, second);
    return { alike, fate: await raw.fate(), peers: raw.all("peer").length };
  },

  async same_name() {
    const first = await joined();
    first.request(shared);
    await first.hear("sync", shared);
    const second = await joined(first.name);
    await until(() => first.closed !== null, () => "the first socket of the name is closed");
    second.request(shared);
    await second.hear("sync", shared);
    // A third and a fourth in no time, and the others' ends arrive in any order.
    const rest = await Promise.all([joined(first.name), open(), open()]);
    rest[1].socket.terminate();
    for (const raw of rest.slice(1)) raw.name = first.name;
    const last = await joined(first.name);
    second.socket.terminate();
    rest.forEach((raw) => raw.socket.terminate());
    last.request(shared);
    await last.hear("sync", shared);
    const before = last.all("sync").length;
    await bystanders();
    await until(() => last.all("sync").length > before, () => "the last socket hears the edit");
    return { last_is_open: last.closed === null, fate: await last.fate() };
  },

  async unknown_document() {
    const raw = await joined();
    const ids = [freshId(), freshId()];
    ids.forEach((documentId) => raw.request(documentId));
    const answers = [];
    for (const documentId of ids) answers.push(await raw.hear("doc-unavailable", documentId));
    // It comes to be, and the one who asked hears of it.
    const writer = await joined();
    const doc = Automerge.from({ late: true });
    const [state, data] = Automerge.generateSyncMessage(doc, Automerge.initSyncState());
    writer.send({ type: "sync", documentId: ids[0], data });
    const answer = await writer.hear("sync", ids[0]);
    const [, next] = Automerge.receiveSyncMessage(doc, state, answer.data);
    const [, changes] = Automerge.generateSyncMessage(doc, next);
    if (changes) writer.send({ type: "sync", documentId: ids[0], data: changes });
    const news = () =>
      raw.all("sync").find((one) => Automerge.decodeSyncMessage(one.data).heads.length > 0);
    await until(() => news() || raw.closed !== null, () => `the late document: ${raw.told()}`);
    return {
      addressed: answers.every((one) => one.targetId === raw.name && one.senderId === raw.server),
      came: news()?.documentId === ids[0],
    };
  },

  async id_as_bytes() {
    const raw = await joined();
    raw.request(documentIdToBinary(shared));
    const id = ({ documentId }) =>
      typeof documentId === "string" ? documentId : Buffer.from(documentId).toString("hex");
    const asked = [shared, Buffer.from(documentIdToBinary(shared)).toString("hex")];
    const came = () => raw.all("sync").some((message) => asked.includes(id(message)));
    await until(() => came() || raw.closed !== null, () => `the document comes: ${raw.told()}`);
    return { came: came() };
  },

  async numbers_and_undefined() {
    const [raw, other] = [await joined(), await joined()];
    for (const one of [raw, other]) {
      one.request(shared);
      await one.hear("sync", shared);
    }
    // Over 2^32 the stock codec writes a float.
    const counts = [1, 2 ** 31, 2 ** 32 + 1, 2 ** 45];
    for (const count of counts) {
      const word = { documentId: shared, count, sessionId: "s", data: cbor.encode({ count }) };
      raw.send({ type: "ephemeral", ...word, more: undefined });
    }
    const heard = () => other.all("ephemeral").filter(({ senderId }) => senderId === raw.name);
    await until(() => heard().length === counts.length, () => `counts arrive: ${other.told()}`);
    raw.send({ type: "remote-subscription-change", add: undefined, remove: undefined });
    raw.send({ type: "remote-subscription-change", add: ["some-storage"] });
    const newHeads = { other: { heads: [], timestamp: Date.now() } };
    raw.send({ type: "remote-heads-changed", documentId: shared, newHeads });
    return {
      counts: heard().map(({ count }) => Number(count)),
      said: heard().map(({ data }) => cbor.decode(data).count),
      fate: await raw.fate(),
    };
  },

  async hostile_sync() {
    const change = Automerge.getLastLocalChange(Automerge.from({ evil: true }));
    const bent = (byte, at) => (at > 20 && at % 3 === 0 ? byte ^ 0x55 : byte);
    const broken = Uint8Array.from(change, bent);
    const bundle = [0x85, 0x6f, 0x4a, 0x83, 1, 2, 3, 4, 3, 0xff, 0xff, 0xff, 0x7f];
    const withChange = [0x42, 0, 0, 0, 1, ...uleb(broken.length), ...broken];
    const payloads = {
      probes: filter(1, 8, 2 ** 32 - 1, [0]),
      no_bits: filter(1, 0, 7, []),
      no_entries: filter(0, 0, 0, []),
      huge: filter(2 ** 32 - 1, 2 ** 32 - 1, 7, [0]),
      heads: Uint8Array.from([0x42, ...uleb(2 ** 32 - 1), 1, 2, 3]),
      changes: Uint8Array.from([0x42, 0, 0, 0, ...uleb(2 ** 32 - 1)]),
      noise: randomBytes(100),
      change: Uint8Array.from(withChange),
      bundle: Uint8Array.from([0x42, 0, 0, 0, 1, bundle.length, ...bundle]),
    };
    const fates = { shared: {}, fresh: {} };
    for (const [name, data] of Object.entries(payloads)) {
      for (const documentId of [shared, freshId()]) {
        const raw = await joined();
        raw.send({ type: "sync", documentId, data });
        fates[documentId === shared ? "shared" : "fresh"][name] = await raw.verdict();
        raw.socket.terminate();
        await bystanders();
      }
    }
    return fates;
  },

  async flood() {
    const WORDS = 5_000;
    const [raw, watcher] = [await joined(), await joined()];
    for (const one of [raw, watcher]) {
      one.request(shared);
      await one.hear("sync", shared);
    }
    const data = cbor.encode({ filler: "x".repeat(200) });
    for (let count = 1; count <= WORDS; count += 1) {
      raw.send({ type: "ephemeral", documentId: shared, count, sessionId: "flood", data });
      if (count % 1_000 === 0) await bystanders();
    }
    await bystanders();
    const counts = () => watcher.all("ephemeral").map(({ count }) => Number(count));
    await until(() => counts().length >= WORDS, () => `all words arrive: ${counts().length}`);
    const fates = [await raw.fate(), await watcher.fate()];
    const in_order = counts().every((count, at) => count === at + 1);
    raw.socket.terminate();
    const fresh = await Peer.start("2", WORKSPACE);
    const handle = await fresh.find(born.url);
    await agreementOn((state) => state.round === round, [fresh, handle], [peers[0], born]);
    fresh.cut();
    return { heard: counts().length, in_order, fates };
  },

  // Two who pass on all that they hear, as repos do that know each other by several ways.
  async loops() {
    const relays = [await joined(), await joined()];
    const author = await joined();
    for (const raw of [author, ...relays]) {
      raw.request(shared);
      await raw.hear("sync", shared);
    }
    for (const raw of relays) {
      raw.socket.on("message", (bytes) => {
        const message = cbor.decode(bytes);
        if (message.type === "ephemeral") raw.send({ ...message, targetId: raw.server });
      });
    }
    const WORDS = 10;
    for (let count = 1; count <= WORDS; count += 1) {
      const data = cbor.encode({ count });
      author.send({ type: "ephemeral", documentId: shared, count, sessionId: "loop", data });
    }
    const heard = (raw) => raw.all("ephemeral").filter(({ sessionId }) => sessionId === "loop");
    const all = () => relays.every((raw) => heard(raw).length >= WORDS);
    await until(all, () => `the relays hear all: ${relays.map((raw) => heard(raw).length)}`);
    await pause(300);
    for (const raw of [author, ...relays]) await raw.fate();
    return { heard: relays.map((raw) => heard(raw).length), echoes: heard(author).length };
  },

  async leaves() {
    const raw = await joined();
    raw.request(shared);
    await raw.hear("sync", shared);
    raw.send({ type: "leave" });
    const code = await raw.end();
    const again = await joined(raw.name);
    again.request(shared);
    const back = (await again.hear("sync", shared)).targetId === raw.name;
    return { code, back, errors: raw.all("error").length };
  },

  async ping() {
    const raw = await joined();
    await until(() => raw.pings > 0, () => "the server pings");
    return { pings: raw.pings > 0, fate: await raw.fate() };
  },
};

// Of a server that asks often.
const impatient = {
  // One is there, and as dead as if its network were gone; the other says nothing, and is alive.
  async no_pong() {
    const [dead, quiet] = [await joined(undefined, { autoPong: false }), await joined()];
    const code = await dead.end();
    await until(() => quiet.pings > dead.pings, () => "the quiet one is asked on");
    return { code, pings: dead.pings, quiet: await quiet.fate() };
  },
};

const facts = {};
for (const name of options.length > 0 ? options : Object.keys(cases)) {
  try {
    facts[name] = await (cases[name] ?? impatient[name])();
    await bystanders();
  } catch (error) {
    throw new Error(`${name}: ${error.message}`, { cause: error });
  }
}
tell(facts);
