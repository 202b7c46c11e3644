// A client asks for documents that nobody has, and for some of them somebody comes later.

import { AckingStore, CAPS } from "../acking.mjs";
import { tell, until, workspace } from "../scenario.mjs";
import { Session } from "../session.mjs";
import { lines, options, Peer } from "./peers.mjs";

// `alone`: without a JSON client.
const alone = options.at(-1) === "alone";
if (alone) options.pop();
const [lineA, lineB] = lines(2);
const a = await Peer.start(lineA, "unavailable");
const b = await Peer.offline(lineB, "unavailable");

const refused = async (url) => {
  try {
    await a.find(url);
    return "found";
  } catch (error) {
    return error.message.replace(url, "URL");
  }
};
// The stock client gives up by itself after 60 s; a server that answers is a lot quicker.
const patient = async (promise, what) => {
  let done = false;
  const settled = promise.finally(() => (done = true));
  await until(() => done, () => what);
  return settled;
};

const nowhere = a.library.generateAutomergeUrl();
const first = await patient(refused(nowhere), "a document that nobody has is refused");
const second = await patient(refused(nowhere), "and once more");
const unavailable = a.repo.handles[a.library.parseAutomergeUrl(nowhere).documentId].state;

// Somebody made it while offline, and comes back.
const born = b.create({ from: "b" });
const before = await patient(refused(born.url), "b is not there yet");
const waiting = a.repo.handles[born.documentId];
await b.back();
await b.saved(born);
await until(() => waiting.isReady(), () => "the document that b brought has come");
waiting.change((doc) => (doc.seen = "by a"));
await until(() => b.state(born).seen, () => "b hears of it");
const brought = a.state(waiting);

// Nobody has asked for it before.
const quiet = b.create({ from: "b again" });
await b.saved(quiet);
const found = a.state(await a.find(quiet.url));

const facts = { first, second, unavailable, before, brought, found };
if (!alone) {
  // A JSON client makes it.
  const url = a.library.generateAutomergeUrl();
  const { documentId } = a.library.parseAutomergeUrl(url);
  facts.before_json = await patient(refused(url), "no JSON client has made it yet");
  const json = new AckingStore(documentId);
  const session = new Session(workspace("unavailable"), { caps: CAPS });
  session.add(json);
  await session.open();
  await until(() => json.state !== undefined, () => "the JSON client's snapshot is there");
  json.edit((state) => (state.from = "json"));
  const handle = a.repo.handles[documentId];
  await until(() => handle.isReady(), () => "the document that the JSON client made has come");
  handle.change((doc) => (doc.seen = "by a"));
  await until(() => json.state.seen, () => "the JSON client hears of it");
  facts.json_made = a.state(handle);
  facts.nacks = json.nacks;
}
tell(facts);
