//! Git's deltas: how an object is made of a base and new bytes. Source: "Deltified representation" in gitformat-pack(5).

use secretscan_detect::Copied;

/// An object's content made from that of its base.
pub(crate) struct Applied {
    pub content: Vec<u8>,
    /// What is the base's, in order; neighbours that continue each other in both are one.
    pub copied: Vec<Copied>,
}

/// Why a delta can't be applied.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DeltaError {
    /// It is damaged, or for another base.
    Damaged,
    /// The content has so many bytes.
    TooLarge(u64),
}

/// Of so many parts the short ones are not remembered: a delta can be made of nothing else, and each would take more memory
/// than what it says about. Nothing is lost: what is not known to be copied is scanned again.
const MANY_PARTS: usize = 1 << 16;
const SHORT_PART: usize = 128;

/// How many bytes a delta says that it makes.
pub(crate) fn result_size(delta: &[u8]) -> Option<u64> {
    let mut rest = delta;
    size(&mut rest)?;
    size(&mut rest)
}

/// Applies a delta to the content of its base; the result has at most `max_bytes`.
pub(crate) fn apply(base: &[u8], delta: &[u8], max_bytes: u64) -> Result<Applied, DeltaError> {
    let mut rest = delta;
    let base_size = size(&mut rest).ok_or(DeltaError::Damaged)?;
    let result_size = size(&mut rest).ok_or(DeltaError::Damaged)?;
    if base_size != base.len() as u64 {
        return Err(DeltaError::Damaged);
    }
    if result_size > max_bytes {
        return Err(DeltaError::TooLarge(result_size));
    }
    let result_size = usize::try_from(result_size).map_err(|_| DeltaError::TooLarge(result_size))?;
    let mut content = Vec::new();
    content.try_reserve_exact(result_size).map_err(|_| DeltaError::TooLarge(result_size as u64))?;
    let mut copied: Vec<Copied> = Vec::new();
    while !rest.is_empty() {
        let part = instruction(&mut rest).ok_or(DeltaError::Damaged)?;
        let to = content.len();
        let bytes = match part {
            Instruction::Insert(bytes) => bytes,
            Instruction::Copy { from, len } => {
                let end = from.checked_add(len).ok_or(DeltaError::Damaged)?;
                let bytes = base.get(from..end).ok_or(DeltaError::Damaged)?;
                let copied_len = copied.len();
                match copied.last_mut() {
                    Some(last) if last.from + last.len == from && last.to + last.len == to => last.len += len,
                    Some(last) if copied_len >= MANY_PARTS && last.len < SHORT_PART => {
                        *last = Copied { from, to, len };
                    }
                    _ => copied.push(Copied { from, to, len }),
                }
                bytes
            }
        };
        if to + bytes.len() > result_size {
            return Err(DeltaError::Damaged);
        }
        content.extend_from_slice(bytes);
    }
    if content.len() != result_size {
        return Err(DeltaError::Damaged);
    }
    Ok(Applied { content, copied })
}

enum Instruction<'a> {
    Insert(&'a [u8]),
    Copy { from: usize, len: usize },
}

/// A number in groups of seven bits, the lowest first.
fn size(rest: &mut &[u8]) -> Option<u64> {
    let mut size = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = *rest.split_off_first()?;
        size |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(size);
        }
    }
    None
}

fn instruction<'a>(rest: &mut &'a [u8]) -> Option<Instruction<'a>> {
    let command = *rest.split_off_first()?;
    if command & 0x80 == 0 {
        // Zero is reserved.
        let len = usize::from(command);
        return if len == 0 { None } else { Some(Instruction::Insert(rest.split_off(..len)?)) };
    }
    // Each bit says whether a byte of the offset (four) or the length (three) follows.
    let mut number = |bits: std::ops::Range<u32>| {
        let first = bits.start;
        bits.filter(|bit| command >> bit & 1 == 1).try_fold(0_usize, |number, bit| {
            let byte = *rest.split_off_first()?;
            Some(number | usize::from(byte) << (8 * (bit - first)))
        })
    };
    let from = number(0..4)?;
    let len = number(4..7)?;
    Some(Instruction::Copy { from, len: if len == 0 { 0x10000 } else { len } })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: &[u8] = b"0123456789abcdef";

    fn apply_to_base(delta: &[u8]) -> Result<Applied, DeltaError> {
        apply(BASE, delta, 1000)
    }

    #[test]
    fn copies_and_inserts_make_the_content() {
        // Copy 10 bytes from 2, insert "xy", copy 4 from 12, copy 2 from 14, then two that continue each other.
        let delta = [16, 22, 0x91, 2, 10, 2, b'x', b'y', 0x91, 12, 4, 0x91, 14, 2, 0x91, 0, 1, 0x91, 1, 3];
        let applied = apply_to_base(&delta).unwrap();
        assert_eq!(applied.content, b"23456789abxycdefef0123");
        let copied = |from, to, len| Copied { from, to, len };
        assert_eq!(
            applied.copied,
            [copied(2, 0, 10), copied(12, 12, 4), copied(14, 16, 2), copied(0, 18, 4)]
        );
    }

    #[test]
    fn damaged_deltas_are_refused() {
        for delta in [
            &[15, 1, 0x91, 2, 1][..], // another base
            &[16, 1, 0x91, 16, 1],    // beyond the base
            &[16, 2, 0x91, 2, 1],     // too short
            &[16, 1, 0x91, 2, 2],     // too long
            &[16, 1, 0],              // reserved
            &[16, 1, 3, b'x'],        // cut off
            &[16, 1, 0x91, 2],
            &[0x80; 20],
            &[],
        ] {
            assert_eq!(apply_to_base(delta).err(), Some(DeltaError::Damaged), "{delta:?}");
        }
        assert_eq!(apply_to_base(&[16, 0xe9, 7]).err(), Some(DeltaError::TooLarge(1001)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_delta_or_refused(delta in prop::collection::vec(any::<u8>(), 0..40)) {
            let delta = [&[16, 20][..], &delta].concat();
            if let Ok(applied) = apply_to_base(&delta) {
                prop_assert_eq!(applied.content.len(), 20);
                for Copied { from, to, len } in applied.copied {
                    prop_assert_eq!(&BASE[from..from + len], &applied.content[to..to + len]);
                }
            }
        }
    }
}
