//! Words of stock clients, and words that come back as they went.

use proptest::prelude::*;

use super::*;
use crate::json::arbitrary;

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn json(text: &str) -> Json {
    Json::parse(text, &JsonLimits::default()).unwrap()
}

fn parse(data: &[u8]) -> Option<PresenceWord> {
    PresenceWord::parse(data, &JsonLimits::default())
}

/// Made with `encode` of automerge-repo 2.5.6 of what its `Presence` broadcasts.
#[test]
fn words_of_stock_clients_are_read() {
    let update = |value| PresenceWord::Update { channel: "cursor".to_owned(), value };
    let words = [
        (
            "b900016a5f5f70726573656e6365b90001647479706569686561727462656174",
            PresenceWord::Heartbeat,
        ),
        ("b900016a5f5f70726573656e6365b90001647479706567676f6f64627965", PresenceWord::Goodbye),
        (
            "b900016a5f5f70726573656e6365b90003647479706566757064617465676368616e6e656c6663757273\
             6f726576616c7565b900046178fb3ff8000000000000617922626174fb427a209357dbc0006373656cf7",
            update(json(r#"{"x":1.5,"y":-3,"at":1795450830268,"sel":null}"#)),
        ),
        (
            "b900016a5f5f70726573656e6365b90003647479706566757064617465676368616e6e656c6663757273\
             6f726576616c7565f7",
            update(Json::Null),
        ),
        (
            "b900016a5f5f70726573656e6365b90002647479706568736e617073686f74657374617465b90009646e\
             616d6563416e6e646c6973748301f6f5656279746573430102036464617465c1fb41dac119f39126e963\
             6269671b10000000000000006468756765c249400000000000000000676e656768756765c3493fffffff\
             ffffffffff63736574d901028101636e616efb7ff8000000000000",
            PresenceWord::Snapshot {
                state: json(
                    r#"{"name":"Ann","list":[1,null,true],"bytes":"AQID","date":1795450830268,
                    "big":1152921504606846976,"huge":1180591620717411303424,
                    "neghuge":-1180591620717411303424,"set":[1],"nan":null}"#,
                ),
            },
        ),
    ];
    for (data, word) in words {
        assert_eq!(parse(&unhex(data)), Some(word), "{data}");
    }
}

/// The data was read with `decode` of automerge-repo 2.5.6, as the objects that the words mean.
#[test]
fn words_are_written_as_stock_clients_read_them() {
    let words = [
        ("a16a5f5f70726573656e6365a1647479706569686561727462656174", PresenceWord::Heartbeat),
        ("a16a5f5f70726573656e6365a1647479706567676f6f64627965", PresenceWord::Goodbye),
        (
            "a16a5f5f70726573656e6365a3647479706566757064617465676368616e6e656c66637572736f726576\
             616c7565a3626174fb427a209357dbc0006178fb3ff8000000000000617922",
            PresenceWord::Update {
                channel: "cursor".to_owned(),
                value: json(r#"{"x":1.5,"y":-3,"at":1795450830268}"#),
            },
        ),
        (
            "a16a5f5f70726573656e6365a2647479706568736e617073686f74657374617465a563626967fb434000\
             0000000000646c6973748301f6f5636d696e3affffffff646e616d6563416e6e65756e646572fbc1f000\
             0000100000",
            PresenceWord::Snapshot {
                state: json(
                    r#"{"name":"Ann","list":[1,null,true],"big":9007199254740993,
                    "min":-4294967296,"under":-4294967297}"#,
                ),
            },
        ),
    ];
    for (data, word) in words {
        assert_eq!(word.encode(), unhex(data), "{word:?}");
    }
}

/// Whole numbers are written as such, so that a word is the same when it comes back.
fn value() -> impl Strategy<Value = Json> {
    let scalar = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i32>().prop_map(Json::from),
        (-1e6..1e6).prop_filter("whole", |n: &f64| n.fract() != 0.0).prop_map(Json::from),
        any::<String>().prop_map(Json::from),
    ];
    scalar.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6)
                .prop_map(|items| Json::Array(items.into_iter().collect())),
            prop::collection::vec((arbitrary::key(), inner), 0..6)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

fn word() -> impl Strategy<Value = PresenceWord> {
    prop_oneof![
        Just(PresenceWord::Heartbeat),
        Just(PresenceWord::Goodbye),
        (any::<String>(), value())
            .prop_map(|(channel, value)| PresenceWord::Update { channel, value }),
        value().prop_map(|state| PresenceWord::Snapshot { state }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(word in word()) {
        prop_assert_eq!(parse(&word.encode()), Some(word));
    }

    #[test]
    fn damaged_words_are_read_or_passed_over(
        word in word(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut data = word.encode();
        for (at, byte) in damage {
            let at = at.index(data.len());
            data[at] = byte;
        }
        if let Some(word) = parse(&data) {
            let again = parse(&word.encode());
            prop_assert!(again.is_some_and(|again| again.encode() == word.encode()));
        }
    }

    #[test]
    fn a_word_that_is_cut_or_goes_on_is_none(word in word(), at: prop::sample::Index) {
        let mut data = word.encode();
        data.push(0xf6);
        prop_assert_eq!(parse(&data), None);
        data.pop();
        data.truncate(at.index(data.len()));
        prop_assert_eq!(parse(&data), None);
    }
}

#[test]
fn what_an_application_says_is_no_presence() {
    for data in [
        "",
        // "hi", {}, {"hi": 1}, [1]
        "626869",
        "a0",
        "a162686901",
        "8101",
        // {"__presence": 1}, {"__presence": {}}, {"__presence": {"type": "hi"}}
        "a16a5f5f70726573656e636501",
        "a16a5f5f70726573656e6365a0",
        "a16a5f5f70726573656e6365a16474797065626869",
        // {"__presence": {"type": "update"}}: no channel
        "a16a5f5f70726573656e6365a1647479706566757064617465",
    ] {
        assert_eq!(parse(&unhex(data)), None, "{data}");
    }
}

#[test]
fn presence_has_limits() {
    let fits = |word: &PresenceWord| parse(&word.encode()).is_some();
    let text = |length: usize| PresenceWord::Snapshot { state: "x".repeat(length).into() };
    assert!(fits(&text(limits::PRESENCE_BYTES_MAX - 2)));
    assert!(!fits(&text(limits::PRESENCE_BYTES_MAX - 1)));

    let channel = |name: &str| PresenceWord::Update { channel: name.to_owned(), value: Json::Null };
    assert!(fits(&channel(&"x".repeat(limits::KEY_BYTES_MAX))));
    assert!(!fits(&channel(&"x".repeat(limits::KEY_BYTES_MAX + 1))));
    assert!(!fits(&channel("__proto__")));

    let state = json(r#"{"a":[[1]]}"#);
    let data = PresenceWord::Snapshot { state }.encode();
    let deep = |depth_max| JsonLimits { depth_max, ..JsonLimits::default() };
    assert!(PresenceWord::parse(&data, &deep(3)).is_some());
    assert!(PresenceWord::parse(&data, &deep(2)).is_none());
    let small = JsonLimits { document_bytes_max: 10, ..JsonLimits::default() };
    assert!(PresenceWord::parse(&data, &small).is_none());

    // The envelope may hold more than the word, but not without end.
    let padded = |length: usize| {
        let mut data = unhex("a26170");
        data.push(0x5a);
        data.extend(u32::try_from(length).unwrap().to_be_bytes());
        data.resize(data.len() + length, 0);
        data.extend(unhex("6a5f5f70726573656e6365a1647479706567676f6f64627965"));
        data
    };
    let around = padded(0).len();
    assert!(parse(&padded(limits::EPHEMERAL_BYTES_MAX - around)).is_some());
    assert!(parse(&padded(limits::EPHEMERAL_BYTES_MAX - around + 1)).is_none());
}
