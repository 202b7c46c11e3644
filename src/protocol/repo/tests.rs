//! Frames of the stock clients, frames that come back as they went, and hostile ones.

use proptest::prelude::*;

use super::cbor::WHOLE_MAX;
use super::*;
use crate::limits;

const ID: &str = "1Bhh3pU9gLXZiNDL6PEa1Gs9fh";

/// Bytes 0 to 15: what `ID` says.
fn id() -> DocumentId {
    ID.parse().unwrap()
}

fn head(of: impl Fn(u8) -> u8) -> ChangeHash {
    ChangeHash(std::array::from_fn(|at| of(u8::try_from(at).unwrap())))
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// The messages of [`STOCK`], and what the same messages are when written here.
fn messages() -> Vec<RepoMessage<'static>> {
    let (alice, server, disk) = (Cow::from("alice"), Cow::from("server"), Cow::from("disk"));
    let (sender, target, document) = (alice.clone(), server.clone(), id());
    let data = Cow::from(&[1, 2, 3][..]);
    let heads =
        RemoteHeads { heads: vec![head(|at| at.wrapping_mul(7))], timestamp: 1_795_450_830_268 };
    vec![
        RepoMessage::Join {
            sender: sender.clone(),
            metadata: RepoMetadata { storage_id: None, is_ephemeral: true },
            versions: vec!["1".into()],
        },
        RepoMessage::Peer {
            sender: server.clone(),
            metadata: RepoMetadata { storage_id: Some(disk.clone()), is_ephemeral: false },
            version: "1".into(),
            target: alice.clone(),
        },
        RepoMessage::Error {
            message: "unsupported protocol version".into(),
            sender: server,
            target: alice,
        },
        RepoMessage::Leave { sender: sender.clone() },
        RepoMessage::Request {
            sender: sender.clone(),
            target: target.clone(),
            document,
            data: data.clone(),
        },
        RepoMessage::Sync { sender: sender.clone(), target: target.clone(), document, data },
        RepoMessage::DocUnavailable { sender: sender.clone(), target: target.clone(), document },
        RepoMessage::Ephemeral {
            sender: sender.clone(),
            target: target.clone(),
            document,
            count: 7,
            session: "s-1".into(),
            data: Cow::from(&[0xb9, 0, 1, 0x62, b'h', b'i', 1][..]),
        },
        RepoMessage::RemoteSubscriptionChange {
            sender: sender.clone(),
            target: target.clone(),
            add: vec![disk.clone()],
            remove: Vec::new(),
        },
        RepoMessage::RemoteHeadsChanged {
            sender,
            target,
            document,
            heads: BTreeMap::from([(disk, heads)]),
        },
    ]
}

/// Made with `encode` of automerge-repo 2.5.6 (`helpers/cbor.js`, cbor-x 1.6.9) of the messages as
/// its adapter and its network subsystem put them together, with `undefined` where they do.
const STOCK: [&str; 10] = [
    "b900046474797065646a6f696e6873656e646572496465616c6963656c706565724d65746164617461b9\
     00026973746f726167654964f76b6973457068656d6572616cf57819737570706f7274656450726f746f\
     636f6c56657273696f6e73816131",
    "b90005647479706564706565726873656e6465724964667365727665726c706565724d65746164617461\
     b900026973746f726167654964646469736b6b6973457068656d6572616cf47773656c65637465645072\
     6f746f636f6c56657273696f6e613168746172676574496465616c696365",
    "b900046474797065656572726f726873656e646572496466736572766572676d657373616765781c756e\
     737570706f727465642070726f746f636f6c2076657273696f6e68746172676574496465616c696365",
    "b900026474797065656c656176656873656e646572496465616c696365",
    "b9000564747970656772657175657374687461726765744964667365727665726a646f63756d656e7449\
     64781a3142686833705539674c585a694e444c365045613147733966686464617461430102036873656e\
     646572496465616c696365",
    "b9000564747970656473796e63687461726765744964667365727665726464617461430102036a646f63\
     756d656e744964781a3142686833705539674c585a694e444c365045613147733966686873656e646572\
     496465616c696365",
    "b9000464747970656f646f632d756e617661696c61626c656a646f63756d656e744964781a3142686833\
     705539674c585a694e444c36504561314773396668687461726765744964667365727665726873656e64\
     6572496465616c696365",
    "b90007647479706569657068656d6572616c687461726765744964667365727665726a646f63756d656e\
     744964781a3142686833705539674c585a694e444c36504561314773396668646461746147b900016268\
     690165636f756e74076973657373696f6e496463732d316873656e646572496465616c696365",
    "b900056474797065781a72656d6f74652d737562736372697074696f6e2d6368616e6765687461726765\
     744964667365727665726361646481646469736b6672656d6f7665f76873656e646572496465616c6963\
     65",
    "b9000564747970657472656d6f74652d68656164732d6368616e67656468746172676574496466736572\
     7665726a646f63756d656e744964781a3142686833705539674c585a694e444c36504561314773396668\
     686e65774865616473b90001646469736bb90002656865616473817830316871356b595453786f6d4d66\
     58505052544c6171454232646e79597973366656333339525770547533466974574d476974696d657374\
     616d70fb427a209357dbc0006873656e646572496465616c696365",
];

#[test]
fn frames_of_stock_clients_are_read() {
    for (frame, message) in STOCK.iter().zip(messages()) {
        assert_eq!(RepoMessage::decode(&unhex(frame)), Ok(message));
    }
}

/// The frames were read with `decode` of automerge-repo 2.5.6, which found in them the messages
/// of [`STOCK`] less what is `undefined`: each number a `number`, each data a `Uint8Array`.
const WRITTEN: [&str; 10] = [
    "a46474797065646a6f696e6873656e646572496465616c6963656c706565724d65746164617461a16b69\
     73457068656d6572616cf57819737570706f7274656450726f746f636f6c56657273696f6e73816131",
    "a5647479706564706565726873656e6465724964667365727665726c706565724d65746164617461a269\
     73746f726167654964646469736b6b6973457068656d6572616cf47773656c656374656450726f746f63\
     6f6c56657273696f6e613168746172676574496465616c696365",
    "a46474797065656572726f726873656e646572496466736572766572676d657373616765781c756e7375\
     70706f727465642070726f746f636f6c2076657273696f6e68746172676574496465616c696365",
    "a26474797065656c656176656873656e646572496465616c696365",
    "a5647479706567726571756573746873656e646572496465616c69636568746172676574496466736572\
     7665726a646f63756d656e744964781a3142686833705539674c585a694e444c36504561314773396668\
     646461746143010203",
    "a564747970656473796e636873656e646572496465616c69636568746172676574496466736572766572\
     6a646f63756d656e744964781a3142686833705539674c585a694e444c36504561314773396668646461\
     746143010203",
    "a464747970656f646f632d756e617661696c61626c656873656e646572496465616c6963656874617267\
     65744964667365727665726a646f63756d656e744964781a3142686833705539674c585a694e444c3650\
     4561314773396668",
    "a7647479706569657068656d6572616c6873656e646572496465616c6963656874617267657449646673\
     657276657265636f756e74076973657373696f6e496463732d316a646f63756d656e744964781a314268\
     6833705539674c585a694e444c36504561314773396668646461746147b9000162686901",
    "a56474797065781a72656d6f74652d737562736372697074696f6e2d6368616e67656873656e64657249\
     6465616c696365687461726765744964667365727665726361646481646469736b6672656d6f766580",
    "a564747970657472656d6f74652d68656164732d6368616e6765646873656e646572496465616c696365\
     687461726765744964667365727665726a646f63756d656e744964781a3142686833705539674c585a69\
     4e444c36504561314773396668686e65774865616473a1646469736ba265686561647381783031687135\
     6b595453786f6d4d6658505052544c6171454232646e7959797336665633333952577054753346697457\
     4d476974696d657374616d70fb427a209357dbc000",
];

#[test]
fn frames_are_written_as_stock_clients_read_them() {
    for (message, frame) in messages().iter().zip(WRITTEN) {
        assert_eq!(message.encode(), unhex(frame), "{message:?}");
    }
}

/// A text of any characters, at times in pieces.
fn text(max: usize) -> impl Strategy<Value = Cow<'static, str>> {
    prop_oneof![4 => "[a-zA-Z0-9-]{0,40}", 1 => any::<String>()]
        .prop_map(move |text| text.chars().take(max / 4).collect::<String>().into())
}

fn name() -> impl Strategy<Value = Cow<'static, str>> {
    text(limits::PEER_ID_BYTES_MAX)
}

fn storages() -> impl Strategy<Value = Vec<Cow<'static, str>>> {
    prop::collection::vec(text(limits::STORAGE_ID_BYTES_MAX), 0..30)
}

fn whole() -> impl Strategy<Value = u64> {
    prop_oneof![0..=30_u64, Just(u32::MAX.into()), 0..=u64::try_from(WHOLE_MAX).unwrap()]
}

fn data() -> impl Strategy<Value = Cow<'static, [u8]>> {
    let length = prop_oneof![8 => 0..40_usize, 1 => 200..300_usize, 1 => 65_500..65_600_usize];
    (length, any::<u8>()).prop_map(|(length, byte)| vec![byte; length].into())
}

fn metadata() -> impl Strategy<Value = RepoMetadata<'static>> {
    (prop::option::of(text(limits::STORAGE_ID_BYTES_MAX)), any::<bool>())
        .prop_map(|(storage_id, is_ephemeral)| RepoMetadata { storage_id, is_ephemeral })
}

fn remote_heads() -> impl Strategy<Value = RemoteHeads> {
    let heads = prop::collection::vec(any::<[u8; 32]>().prop_map(ChangeHash), 0..4);
    (heads, whole()).prop_map(|(heads, timestamp)| RemoteHeads { heads, timestamp })
}

fn message() -> impl Strategy<Value = RepoMessage<'static>> {
    let about = || (name(), name(), any::<[u8; 16]>().prop_map(DocumentId));
    prop_oneof![
        (name(), metadata(), storages()).prop_map(|(sender, metadata, versions)| {
            RepoMessage::Join { sender, metadata, versions }
        }),
        (name(), metadata(), text(64), name()).prop_map(|(sender, metadata, version, target)| {
            RepoMessage::Peer { sender, metadata, version, target }
        }),
        (text(limits::REPO_ERROR_BYTES_MAX), name(), name())
            .prop_map(|(message, sender, target)| RepoMessage::Error { message, sender, target }),
        name().prop_map(|sender| RepoMessage::Leave { sender }),
        (about(), data()).prop_map(|((sender, target, document), data)| {
            RepoMessage::Request { sender, target, document, data }
        }),
        (about(), data()).prop_map(|((sender, target, document), data)| {
            RepoMessage::Sync { sender, target, document, data }
        }),
        about().prop_map(|(sender, target, document)| {
            RepoMessage::DocUnavailable { sender, target, document }
        }),
        (about(), whole(), name(), data()).prop_map(
            |((sender, target, document), count, session, data)| RepoMessage::Ephemeral {
                sender,
                target,
                document,
                count,
                session,
                data
            }
        ),
        (name(), name(), storages(), storages()).prop_map(|(sender, target, add, remove)| {
            RepoMessage::RemoteSubscriptionChange { sender, target, add, remove }
        }),
        (about(), prop::collection::btree_map(text(128), remote_heads(), 0..4)).prop_map(
            |((sender, target, document), heads)| RepoMessage::RemoteHeadsChanged {
                sender,
                target,
                document,
                heads
            }
        ),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in message()) {
        let frame = message.encode();
        prop_assert_eq!(RepoMessage::decode(&frame), Ok(message));
    }

    #[test]
    fn a_sync_message_is_written_in_one_allocation(message in message()) {
        if let RepoMessage::Sync { sender, target, document, data } = &message {
            let frame = encode_sync(sender, target, &document.to_string(), data);
            prop_assert_eq!(frame.capacity(), frame.len());
            prop_assert_eq!(frame, message.encode());
        }
    }

    #[test]
    fn what_is_borrowed_is_not_copied(message in message()) {
        if let Ok(RepoMessage::Sync { sender, target, data, .. }) =
            RepoMessage::decode(&message.encode())
        {
            prop_assert!(matches!(
                (sender, target, data),
                (Cow::Borrowed(_), Cow::Borrowed(_), Cow::Borrowed(_))
            ));
        }
    }

    /// Whatever is read says the same once more: there are no two meanings of one message.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
        if let Ok(message) = RepoMessage::decode(&bytes) {
            let again = message.encode();
            prop_assert_eq!(RepoMessage::decode(&again), Ok(message));
        }
    }

    #[test]
    fn damaged_frames_are_read_or_refused(
        which in 0..STOCK.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..4),
    ) {
        let mut frame = unhex(STOCK[which]);
        for (at, byte, kind) in damage {
            let at = at.index(frame.len());
            match kind {
                0 => frame[at] = byte,
                1 => frame.insert(at, byte),
                _ => frame.truncate(at.max(1)),
            }
        }
        if let Ok(message) = RepoMessage::decode(&frame) {
            let again = message.encode();
            prop_assert_eq!(RepoMessage::decode(&again), Ok(message));
        }
    }

    #[test]
    fn a_frame_that_is_cut_or_goes_on_is_refused(message in message(), at: prop::sample::Index) {
        let mut frame = message.encode();
        frame.push(0);
        prop_assert_eq!(RepoMessage::decode(&frame).unwrap_err().fault, RepoFault::Malformed);
        frame.pop();
        frame.truncate(at.index(frame.len()));
        prop_assert_eq!(RepoMessage::decode(&frame).unwrap_err().fault, RepoFault::Malformed);
    }

    #[test]
    fn a_head_survives_its_text(bytes: [u8; 32], other: String) {
        let head = ChangeHash(bytes);
        prop_assert_eq!(parse_head(&head_text(&head)), Some(head));
        prop_assert!(parse_head(&other).is_none_or(|head| head_text(&head) == other));
    }
}

/// Made with the package `bs58check` that automerge-repo uses.
#[test]
fn heads_are_written_as_stock_clients_write_them() {
    let text = "1hq5kYTSxomMfXPPRTLaqEB2dnyYys6fV339RWpTu3FitWMG";
    assert_eq!(head_text(&head(|at| at.wrapping_mul(7))), text);
    assert_eq!(parse_head("11111111111111111111111111111111273Yts"), Some(head(|_| 0)));
    assert_eq!(parse_head(ID), None);
}

/// One item of a hand-made frame.
enum Item<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Raw(&'a [u8]),
}

/// A map of members with text keys.
fn frame(members: &[(&str, Item<'_>)]) -> Vec<u8> {
    let mut writer = cbor::Writer::with_capacity(0);
    writer.map(members.len());
    let mut bytes = writer.finish();
    for (key, value) in members {
        let mut writer = cbor::Writer::with_capacity(0);
        writer.text(key);
        match value {
            Item::Text(text) => writer.text(text),
            Item::Bytes(bytes) => writer.bytes(bytes),
            Item::Raw(_) => {}
        }
        bytes.extend(writer.finish());
        if let Item::Raw(raw) = value {
            bytes.extend(*raw);
        }
    }
    bytes
}

fn fault(members: &[(&str, Item<'_>)]) -> RepoFault {
    RepoMessage::decode(&frame(members)).unwrap_err().fault
}

#[test]
fn a_join_without_versions_means_the_first() {
    for absent in [&[][..], &[("supportedProtocolVersions", Item::Raw(&[0xf7]))]] {
        let mut bytes = frame(&[("type", Item::Text("join")), ("senderId", Item::Text("old"))]);
        bytes[0] += u8::try_from(absent.len()).unwrap();
        bytes.extend(frame(absent).split_off(1));
        let join = RepoMessage::Join {
            sender: "old".into(),
            metadata: RepoMetadata::default(),
            versions: vec!["1".into()],
        };
        assert_eq!(RepoMessage::decode(&bytes), Ok(join));
    }
}

/// Everything that CBOR allows and cbor-x reads, in one frame.
#[test]
fn other_forms_of_the_same_message_are_read() {
    let mut bytes = vec![0xbf];
    let long_text = [&[0x7f, 0x63][..], b"eph", &[0x60, 0x66], b"emeral", &[0xff]].concat();
    let long_id = [&[0x50][..], &id().0].concat();
    let members = [
        ("data", Item::Raw(&[0xd8, 0x40, 0x5f, 0x41, 1, 0x42, 2, 3, 0xff][..])),
        ("count", Item::Raw(&[0xf9, 0x47, 0x00])),
        ("unknown", Item::Raw(&[0xa2, 0x01, 0x9f, 0xd8, 0x20, 0x60, 0xff, 0xf7, 0xf8, 0xff])),
        ("senderId", Item::Text("not she")),
        ("documentId", Item::Raw(&long_id)),
        ("sessionId", Item::Text("s-1")),
        ("targetId", Item::Text("server")),
        ("senderId", Item::Text("alice")),
        ("type", Item::Raw(&long_text)),
    ];
    bytes.extend(frame(&members).split_off(1));
    // A key that is no text.
    bytes.extend([0x05, 0x05, 0xff]);
    let message = RepoMessage::Ephemeral {
        sender: "alice".into(),
        target: "server".into(),
        document: id(),
        count: 7,
        session: "s-1".into(),
        data: Cow::from(&[1, 2, 3][..]),
    };
    assert_eq!(RepoMessage::decode(&bytes), Ok(message));
}

#[test]
fn a_refusal_says_what_is_wrong_and_of_which_message() {
    let told = |frame: &[u8]| {
        let RepoError { fault, kind } = RepoMessage::decode(frame).unwrap_err();
        (fault, kind)
    };
    let arrive = frame(&[("senderId", Item::Text("bob")), ("type", Item::Text("arrive"))]);
    let unknown = RepoFault::UnknownType("arrive".to_owned());
    assert_eq!(told(&arrive), (unknown, Some("arrive".to_owned())));
    // The map breaks off after what can be read.
    let typed = frame(&[("type", Item::Text("arrive")), ("senderId", Item::Text("bob"))]);
    let cut = &typed[..typed.len() - 1];
    assert_eq!(told(cut), (RepoFault::Malformed, Some("arrive".to_owned())));
    for bytes in [&[][..], &[0xff], &[0x80], &[0xa0, 0x00], &[0x63, b'a']] {
        assert_eq!(told(bytes), (RepoFault::Malformed, None), "{bytes:?}");
    }
    assert_eq!(told(&[0xa0]), (RepoFault::Missing("type"), None));
}

#[test]
fn members_that_are_missing_or_wrong_are_named() {
    let sync = |name: &str, value: Option<Item<'static>>| {
        let mut members = vec![
            ("type", Item::Text("sync")),
            ("senderId", Item::Text("alice")),
            ("targetId", Item::Text("server")),
            ("documentId", Item::Text(ID)),
            ("data", Item::Bytes(&[1])),
        ];
        let at = members.iter().position(|(known, _)| *known == name).unwrap();
        match value {
            Some(value) => members[at].1 = value,
            None => drop(members.remove(at)),
        }
        fault(&members)
    };
    for name in ["type", "senderId", "targetId", "documentId", "data"] {
        assert_eq!(sync(name, None), RepoFault::Missing(name));
        assert_eq!(sync(name, Some(Item::Raw(&[0xf6]))), RepoFault::Missing(name));
        assert_eq!(sync(name, Some(Item::Raw(&[0x01]))), RepoFault::Member(name));
    }
    let bad = |value, text: Option<&str>, reason| {
        let text = text.map(str::to_owned);
        assert_eq!(sync("documentId", Some(value)), RepoFault::BadDocumentId { text, reason });
    };
    bad(Item::Text("0"), Some("0"), DocumentIdError::Character);
    bad(Item::Bytes(&[0; 15]), None, DocumentIdError::Length);
    let misspelt = "1Bhh3pU9gLXZiNDL6PEa1Gs9fi";
    bad(Item::Text(misspelt), Some(misspelt), DocumentIdError::Checksum);
}

#[test]
fn a_count_is_a_whole_number_that_javascript_has() {
    let count = |raw: &[u8]| {
        let frame = frame(&[
            ("type", Item::Text("ephemeral")),
            ("senderId", Item::Text("alice")),
            ("targetId", Item::Text("server")),
            ("documentId", Item::Text(ID)),
            ("sessionId", Item::Text("s")),
            ("data", Item::Bytes(&[])),
            ("count", Item::Raw(raw)),
        ]);
        match RepoMessage::decode(&frame) {
            Ok(RepoMessage::Ephemeral { count, .. }) => Ok(count),
            other => Err(other.unwrap_err().fault),
        }
    };
    let float = |n: f64| [&[0xfb][..], &n.to_be_bytes()].concat();
    let integer = |n: u64| [&[0x1b][..], &n.to_be_bytes()].concat();
    let max = (1 << 53) - 1;
    assert_eq!(count(&float(9_007_199_254_740_991.0)), Ok(max));
    assert_eq!(count(&integer(max)), Ok(max));
    assert_eq!(count(&float(-0.0)), Ok(0));
    for bad in [9_007_199_254_740_992.0, 0.5, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(count(&float(bad)), Err(RepoFault::Member("count")), "{bad}");
    }
    for bad in [&integer(max + 1)[..], &integer(u64::MAX), &[0x20], &[0x61, b'1']] {
        assert_eq!(count(bad), Err(RepoFault::Member("count")), "{bad:?}");
    }
}

#[test]
fn what_is_beyond_its_limit_is_refused() {
    let long = |length: usize| Cow::from("x".repeat(length));
    let refused = |message: RepoMessage<'_>| match RepoMessage::decode(&message.encode()) {
        Ok(read) => {
            assert_eq!(read, message);
            None
        }
        Err(RepoError { fault: RepoFault::TooLong(name), .. }) => Some(name),
        Err(other) => panic!("{other:?}"),
    };
    let leave = |length| refused(RepoMessage::Leave { sender: long(length) });
    assert_eq!(leave(limits::PEER_ID_BYTES_MAX), None);
    assert_eq!(leave(limits::PEER_ID_BYTES_MAX + 1), Some("senderId"));

    let join = |id, versions| {
        let metadata = RepoMetadata { storage_id: Some(long(id)), is_ephemeral: false };
        let versions = vec!["1".into(); versions];
        refused(RepoMessage::Join { sender: long(1), metadata, versions })
    };
    let (id_max, versions_max) = (limits::STORAGE_ID_BYTES_MAX, limits::REPO_VERSIONS_MAX);
    assert_eq!(join(id_max, versions_max), None);
    assert_eq!(join(id_max + 1, 1), Some("peerMetadata"));
    assert_eq!(join(1, versions_max + 1), Some("supportedProtocolVersions"));

    let error = |length| {
        refused(RepoMessage::Error { message: long(length), sender: long(1), target: long(1) })
    };
    assert_eq!(error(limits::REPO_ERROR_BYTES_MAX), None);
    assert_eq!(error(limits::REPO_ERROR_BYTES_MAX + 1), Some("message"));

    let add = |count, length| {
        let (add, remove) = (vec![long(length); count], vec![long(1)]);
        let (sender, target) = (long(1), long(1));
        refused(RepoMessage::RemoteSubscriptionChange { sender, target, add, remove })
    };
    assert_eq!(add(limits::REMOTE_STORAGES_MAX, id_max), None);
    assert_eq!(add(limits::REMOTE_STORAGES_MAX + 1, 1), Some("add"));
    assert_eq!(add(1, id_max + 1), Some("add"));
}

#[test]
fn remote_heads_have_limits() {
    let told = |storages: usize, heads: usize, name: usize| {
        let heads = RemoteHeads { heads: vec![head(|at| at); heads], timestamp: 1 };
        let storage = |at| (format!("{at:0name$}").into(), heads.clone());
        let message = RepoMessage::RemoteHeadsChanged {
            sender: "a".into(),
            target: "b".into(),
            document: id(),
            heads: (0..storages).map(storage).collect(),
        };
        RepoMessage::decode(&message.encode()).err().map(|error| error.fault)
    };
    let too_long = Some(RepoFault::TooLong("newHeads"));
    assert_eq!(told(limits::REMOTE_STORAGES_MAX, 1, 1), None);
    assert_eq!(told(limits::REMOTE_STORAGES_MAX + 1, 1, 1), too_long);
    assert_eq!(told(1, limits::REMOTE_HEADS_MAX, limits::STORAGE_ID_BYTES_MAX), None);
    assert_eq!(told(1, limits::REMOTE_HEADS_MAX + 1, 1), too_long);
    assert_eq!(told(1, 1, limits::STORAGE_ID_BYTES_MAX + 1), too_long);
}

#[test]
fn an_unknown_id_can_be_answered_as_it_was_asked() {
    let message =
        RepoMessage::DocUnavailable { sender: "a".into(), target: "b".into(), document: id() };
    assert_eq!(encode_doc_unavailable("a", "b", ID), message.encode());
    let odd = encode_doc_unavailable("a", "b", "whatever");
    let fault = RepoMessage::decode(&odd).unwrap_err().fault;
    let bad = RepoFault::BadDocumentId {
        text: Some("whatever".to_owned()),
        reason: DocumentIdError::Checksum,
    };
    assert_eq!(fault, bad);
}
