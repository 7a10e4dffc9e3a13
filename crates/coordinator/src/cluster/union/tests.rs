use futures_util::stream;
use prost::Message as _;

use super::super::serve::MAX_MESSAGE;
use super::*;

fn union(uploads: usize, sessions: u8) -> Union {
    let upload = |n: usize| Stamped {
        stamp: Stamp { count: n as u64, by: [n as u8; 16] },
        upload: Upload { secret: Zeroizing::new(vec![n as u8; 33]), signature: vec![n as u8; LONGEST_SIGNATURE] },
    };
    let session = |n: u8| SessionKeys {
        id: [n; 16],
        decryption_key: Zeroizing::new(vec![n; LONGEST_KEY]),
        authority: Zeroizing::new(vec![n; LONGEST_AUTHORITY]),
    };
    Union {
        header: [5; 32],
        idle: Duration::from_millis(77),
        finished: true,
        uploads: (0..uploads).map(upload).collect(),
        sessions: (0..sessions).map(session).collect(),
    }
}

async fn heard(parts: Vec<CeremonyPart>) -> Result<Union, String> {
    collect(stream::iter(parts.into_iter().map(Ok))).await
}

#[tokio::test]
async fn what_is_told_is_what_is_heard_in_messages_that_fit() {
    for (uploads, sessions) in [(0, 0), (1, 1), (300, 8)] {
        let mine = union(uploads, sessions);
        let parts = parts(&mine);
        assert!(parts.iter().all(|part| part.encoded_len() < MAX_MESSAGE));
        let theirs = heard(parts).await.unwrap();
        assert_eq!((theirs.header, theirs.idle, theirs.finished), (mine.header, mine.idle, mine.finished));
        let shown = |union: &Union| -> Vec<(Stamp, Vec<u8>, Vec<u8>)> {
            let each = union.uploads.iter().map(|s| (s.stamp, s.upload.secret.to_vec(), s.upload.signature.clone()));
            each.collect()
        };
        assert_eq!(shown(&theirs), shown(&mine));
        assert!(theirs.sessions == mine.sessions);
    }
}

#[tokio::test]
async fn what_is_not_whole_or_too_much_is_refused() {
    let bare = || parts(&union(0, 0));
    let with = |part: CeremonyPart| [bare(), vec![part]].concat();
    let upload = |secret: usize, signature: usize, by: usize| CeremonyPart {
        uploads: vec![CeremonyUpload {
            count: 1,
            by: vec![0; by],
            secret: vec![0; secret],
            signature: vec![0; signature],
        }],
        ..CeremonyPart::default()
    };
    let session = |id: usize, key: usize| CeremonyPart {
        sessions: vec![CeremonySession { id: vec![0; id], decryption_key: vec![0; key], authority: Vec::new() }],
        ..CeremonyPart::default()
    };
    assert!(heard(with(upload(33, 512, 16))).await.is_ok());
    for (number, parts) in [
        Vec::new(),
        vec![CeremonyPart::default()],
        with(CeremonyPart::default()),
        with(upload(LONGEST_SECRET + 1, 0, 16)),
        with(upload(33, LONGEST_SIGNATURE + 1, 16)),
        with(upload(33, 0, 15)),
        with(session(15, 0)),
        with(session(16, LONGEST_KEY + 1)),
        [bare(), vec![session(16, 0); SharedSessions::MOST + 1]].concat(),
        [bare(), vec![upload(33, 0, 16); SharedUploads::MOST + 1]].concat(),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(heard(parts).await.is_err(), "{number}");
    }
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let text = format!("{:?} {:?}", union(2, 1), parts(&union(2, 1)));
    assert!(!text.contains("[1, 1, 1"), "{text}");
}
