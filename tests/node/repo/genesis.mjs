// A store starts with an initial state. Two clients that were never online begin with the store's
// first change and edit offline, and a JSON client edits meanwhile: what the store starts with is
// there once.
//
// The store `board` is configured with a list of three.

import { AckingStore, CAPS } from "../acking.mjs";
import { tell, until, workspace } from "../scenario.mjs";
import { Session } from "../session.mjs";
import { agreementOn, Peer } from "./peers.mjs";

const WORKSPACE = "genesis";
const base = `${process.argv[2]}/v1/workspaces/${WORKSPACE}`;
const answer = await fetch(`${base}/stores/board/genesis`);
const genesis = new Uint8Array(await answer.arrayBuffer());
const { stores } = await (await fetch(base)).json();
const { automergeUrl } = stores.find(({ name }) => name === "board");

const peers = [await Peer.offline("2", WORKSPACE), await Peer.offline("2", WORKSPACE)];
const views = peers.map((peer, at) => {
  const docId = peer.library.parseAutomergeUrl(automergeUrl).documentId;
  const handle = peer.repo.import(genesis, { docId });
  handle.change((doc) => doc.list.push(`offline ${at}`));
  return [peer, handle];
});
const started = peers[0].state(views[0][1]);

const json = new AckingStore("board");
const session = new Session(workspace(WORKSPACE), { caps: CAPS });
session.add(json);
await session.open();
await until(() => json.state !== undefined, () => "the first snapshot is there");
json.edit((state) => state.list.push("json"));
await Promise.all(peers.map((peer) => peer.back()));

const jsonView = [{ state: () => json.state }, json];
const merged = await agreementOn((state) => state.list.length === 6, ...views, jsonView);
await Promise.all(views.map(([peer, handle]) => peer.saved(handle)));
await until(() => json.waiting.length === 0, () => "the JSON client's edit is acknowledged");
tell({ status: answer.status, started, merged, nacks: json.nacks, strange: json.strange });
