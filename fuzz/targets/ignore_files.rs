//! Ignore files: any bytes are entries or refused with the line, and a file that repeats another says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use secretscan_report::{IgnoreError, IgnoreList};

fuzz_target!(|bytes: &[u8]| {
    let parse = |bytes: &[u8]| IgnoreList::parse(bytes, "ignored", |id| id);
    let lines = bytes.split(|byte| *byte == b'\n').count();
    match parse(bytes) {
        Ok(list) => {
            let mut twice = list.clone();
            twice.extend(parse(&[bytes, b"\r\n# end"].concat()).expect("a comment is no error"));
            assert_eq!(twice, list);
        }
        Err(IgnoreError::Entry { line, .. }) => assert!((1..=lines).contains(&line)),
        Err(error) => panic!("nothing is read here: {error}"),
    }
});
