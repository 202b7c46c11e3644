//! A client of the automerge-repo dialect.

use std::borrow::Cow;
use std::collections::BTreeMap;

use tokio_tungstenite::tungstenite::Message;

use super::replica::Replica;
use super::{Mind, Tools};
use crate::ids::{DocumentId, StoreName, WorkspaceId};
use crate::protocol::repo::{PROTOCOL, RepoMessage, RepoMetadata};
use crate::sim::book::Checked;

#[derive(Debug)]
pub(crate) struct Repo {
    tools: Tools,
    documents: BTreeMap<DocumentId, (StoreName, Replica)>,
    /// The server's name, once it has answered.
    server: Option<String>,
    /// Words of the moment said so far.
    ephemera: u64,
    /// The last word of the moment heard from each.
    heard: BTreeMap<String, u64>,
}

impl Repo {
    pub(crate) fn new(mut tools: Tools, workspace: &WorkspaceId) -> Self {
        let stores = tools.stores.clone();
        let documents = stores.into_iter().map(|store| {
            let document = DocumentId::of(workspace, &store);
            (document, (store, Replica::new(tools.chance.bytes())))
        });
        let documents = documents.collect();
        Self { tools, documents, server: None, ephemera: 0, heard: BTreeMap::new() }
    }

    fn say(&mut self, document: DocumentId) -> Option<Message> {
        let server = self.server.as_deref()?;
        let (_, replica) = self.documents.get_mut(&document)?;
        let lacks_it = replica.is_empty();
        let data = Cow::Owned(replica.generate()?);
        let (sender, target) = (Cow::Borrowed(&*self.tools.name), Cow::Borrowed(server));
        let message = if lacks_it {
            RepoMessage::Request { sender, target, document, data }
        } else {
            RepoMessage::Sync { sender, target, document, data }
        };
        Some(Message::binary(message.encode()))
    }

    fn ephemeral(&mut self) -> Option<Message> {
        self.ephemera += 1;
        let message = RepoMessage::Ephemeral {
            sender: (&*self.tools.name).into(),
            target: self.server.as_deref()?.into(),
            document: *self.documents.keys().next()?,
            count: self.ephemera,
            session: "one".into(),
            data: Cow::Borrowed(&[0xf6]),
        };
        Some(Message::binary(message.encode()))
    }
}

impl Mind for Repo {
    fn tools(&mut self) -> &mut Tools {
        &mut self.tools
    }

    fn greet(&mut self) -> Vec<Message> {
        let join = RepoMessage::Join {
            sender: (&*self.tools.name).into(),
            metadata: RepoMetadata::default(),
            versions: vec![PROTOCOL.into()],
        };
        vec![Message::binary(join.encode())]
    }

    fn lose(&mut self) {
        self.server = None;
    }

    fn hear(&mut self, message: Message) -> Checked<Vec<Message>> {
        let Message::Binary(bytes) = message else {
            return Err("a text frame in the dialect of automerge-repo".to_owned());
        };
        match RepoMessage::decode(&bytes).map_err(|error| format!("not a message: {error}"))? {
            RepoMessage::Peer { sender, .. } => {
                self.server = Some(sender.into_owned());
                let documents: Vec<DocumentId> = self.documents.keys().copied().collect();
                self.documents.values_mut().for_each(|(_, replica)| replica.again());
                Ok(documents.into_iter().filter_map(|document| self.say(document)).collect())
            }
            RepoMessage::Sync { document, data, .. }
            | RepoMessage::Request { document, data, .. } => {
                let known = self.documents.get_mut(&document);
                let (_, replica) = known.ok_or("told of another document")?;
                replica.receive(&data)?;
                Ok(self.say(document).into_iter().collect())
            }
            RepoMessage::Ephemeral { sender, count, .. } => {
                if *sender == self.tools.name {
                    return Err("its own word of the moment came back".to_owned());
                }
                let last = self.heard.entry(sender.into_owned()).or_default();
                if count <= *last {
                    return Err(format!("word {count} of the moment after {last}"));
                }
                *last = count;
                Ok(Vec::new())
            }
            RepoMessage::Error { message, .. } => {
                self.tools.book.note(&self.tools.name, message.as_bytes());
                Ok(Vec::new())
            }
            RepoMessage::DocUnavailable { .. } | RepoMessage::RemoteHeadsChanged { .. } => {
                Ok(Vec::new())
            }
            other => Err(format!("told {other:?}")),
        }
    }

    fn write(&mut self) -> Vec<Message> {
        if self.tools.chance.one_in(10) {
            return self.ephemeral().into_iter().collect();
        }
        let at = self.tools.chance.index(self.documents.len());
        let Some((document, (_, replica))) = self.documents.iter_mut().nth(at) else {
            return Vec::new();
        };
        let document = *document;
        let written = replica.write(&mut self.tools);
        self.tools.book.hold(&self.tools.name, written);
        self.say(document).into_iter().collect()
    }

    fn check(&mut self) -> Checked {
        let mut documents = self.documents.values_mut();
        documents.try_for_each(|(store, replica)| replica.check(&self.tools, store))
    }
}
