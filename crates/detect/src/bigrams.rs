//! How common bytes are in source code, one by one and in pairs: counted in the files of four open-source projects in Go,
//! Java, JavaScript and Rust.

/// The bytes that are told apart; the last stands for all others. `0` is any digit, a letter counts in both cases, and
/// white space is one of two: line ends, and the rest.
const BYTES: &[u8; N] = b"abcdefghijklmnopqrstuvwxyz0 _-./:=\"'(,<\n?";
const N: usize = 41;
/// By byte: one in two to the power of this is it, in hexadecimal.
const BITS: &[u8; N] = b"5756466659856555844457777a628767777767954";
/// By byte, then by the next one: after the first, one in two to the power of this is the second.
const BITS_AFTER: [&[u8; N]; N] = [
    b"8645975b5b7443a4a34247886985aa7a9e9b99f98",
    b"386738795493894996573a9a4a5589487b8877e96",
    b"385a37b46a449929b4735bab7b7589679b9b78a97",
    b"576528984aa68847a767689a7b726768696756b65",
    b"574476798ab66395533497658c93776a788857b75",
    b"488a466b2ab6653aa4763bab7b73987b788b58c87",
    b"697925753ba68638a5575a8b898377468a7756a74",
    b"38882aba3ba97839b6745aab9a546979898868b86",
    b"7545555cbba45236b533c6c7c6a8bb8bcda9aacb8",
    b"4787289888888847882858488866cb68ae97b6c96",
    b"37782667399876768748798999737849897847b76",
    b"488426993ba49847b85457995b8488788a7867b76",
    b"36772aaa4a956843784658ab7a8587769c7878c97",
    b"484445395b777648c743669d7b9387688a7758a75",
    b"6655867b78655255d3554668bba57867ab8979c98",
    b"39973aa85b848a33a3545aa77b8589597d9969985",
    b"8988798889889979896519898965b94a997973b96",
    b"4967275a3c676549c454568b6b9488687b7867a85",
    b"6a6929755a989855a7425a8d8a837847587766b75",
    b"496738b339b77946c4555b895c847658797746a75",
    b"6477477b4bb453a5c333bbbaba77dd7dfcddfcfba",
    b"27691a793aa6985a998a99aa9a57897a8c6a88c96",
    b"3977388427888538844699599a73876a9c9959c97",
    b"584858a969996982a832a9986a658569775777a76",
    b"67586788699665539654898998725548666656964",
    b"26772777588777678767677775559967985768a76",
    b"667667999988899698888997991496375d5685b44",
    b"5756668758a76666b555777a9e71976776677c7d4",
    b"5544447658755454a533566bab756cacaf9cd5b96",
    b"55455576598466649544666aa733e3cdebaaeeb75",
    b"464645565696566594355859cc36bf67df999c947",
    b"6656656787a57775b6556875bb62dd728e85b8a54",
    b"465566997bc99666c766898bde42b9d4336abf856",
    b"a999c9ccbbcbbaaafba88accef71fcbaf239cfd66",
    b"5556558678967666a6556887ba4498765c67c3a42",
    b"5758666688b78698a74567669e6598647c78b2762",
    b"5655658678977666b454788adf5c8ba9ef337fe62",
    b"cbbacbcdaabcdc8be9abeedcef80fdffff9bffe39",
    b"5656789579c67865c75377a3ce8586e2d7e67e8d5",
    b"8a9996ab6bcb9aa8ea9888bdcd80e886f88def734",
    b"7777879989b88787a667889add63b857876876712",
];

/// One in two to the power of this places in source code has this text, roughly.
pub(crate) fn rarity(text: &[u8]) -> u32 {
    let Some(first) = text.first() else { return 0 };
    let after = text.windows(2).map(|pair| digit(BITS_AFTER[number(pair[0])][number(pair[1])]));
    digit(BITS[number(*first)]) + after.sum::<u32>()
}

fn number(byte: u8) -> usize {
    let byte = match byte.to_ascii_lowercase() {
        b'0'..=b'9' => b'0',
        b'\t' => b' ',
        b'\r' => b'\n',
        other => other,
    };
    BYTES.iter().position(|known| *known == byte).unwrap_or(N - 1)
}

fn digit(byte: u8) -> u32 {
    char::from(byte).to_digit(16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rare_has_more_bits() {
        let by_rarity = [&b"he"[..], b"tion", b"TOKE", b"pass", b"s_ke", b"sk-0", b"xkqz"];
        assert!(by_rarity.is_sorted_by_key(|text| rarity(text)), "{:?}", by_rarity.map(rarity));
    }
}
