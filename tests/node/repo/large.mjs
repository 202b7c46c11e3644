// Large documents, in the forms that weigh on a server in different ways: 5 MB of strings that are
// one value each, 5 MB of bytes, and 1 MB of text, a million operations in one change (the client
// itself takes 3 s to write it, and 18 s for 5 MB). And two hundred documents over one socket.

import { randomBytes } from "node:crypto";
import { same, tell, until } from "../scenario.mjs";
import { lines, Peer } from "./peers.mjs";

const SIZE = 5_000_000;
const TEXT_SIZE = 1_000_000;
const TEXT = 1_000;
const SCALAR = 500;
const BLOB = 250_000;
const DOCUMENTS = 200;
// Two cores may have more to do than this.
const PATIENCE_MS = 90_000;
const [a, b] = await Peer.all(lines(2), "large");
const { ImmutableString } = a.library;

// Nothing that could be compressed far below its size.
const noise = (length) => randomBytes(length).toString("base64").slice(0, length);
const times = (size, length, make) => Array.from({ length: size / length }, () => make(length));

async function carried(kind, items) {
  const born = a.create({ kind });
  born.change((doc) => (doc.items = items));
  await a.savedWithin(PATIENCE_MS, born);
  const found = await b.find(born.url);
  const whole = () => found.doc().items?.length === items.length;
  await until(whole, () => `${kind} has come`, PATIENCE_MS);
  // It is still a document that can be edited.
  found.change((doc) => (doc.more = "edited"));
  const edited = () => born.doc().more === "edited";
  await until(edited, () => `${kind} can be edited`, PATIENCE_MS);
  await b.savedWithin(PATIENCE_MS, found);
  const alike = same(a.state(born), b.state(found));
  return { alike, size: a.state(born).items.reduce((sum, item) => sum + item.length, 0) };
}

const text = await carried("text", times(TEXT_SIZE, TEXT, noise));
const scalar = (length) => new ImmutableString(noise(length));
const scalars = await carried("scalars", times(SIZE, SCALAR, scalar));
const blobs = await carried("bytes", times(SIZE, BLOB, randomBytes));

const made = Array.from({ length: DOCUMENTS }, (_, at) => a.create({ at }));
await a.savedWithin(PATIENCE_MS, ...made);
const found = await Promise.all(made.map(({ url }) => b.find(url)));
for (const handle of found) handle.change((doc) => (doc.back = doc.at));
await b.savedWithin(PATIENCE_MS, ...found);
const came = () => made.filter((handle) => a.state(handle).back === a.state(handle).at).length;
await until(() => came() === DOCUMENTS, () => `every document came back: ${came()}`, PATIENCE_MS);

tell({ text, scalars, blobs, documents: came() });
