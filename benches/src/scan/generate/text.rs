//! Lines that look like code, settings and prose, and hold no secret.

use secretscan_testkit::Random;

const WORDS: &str = "account action address agent answer archive array balance batch block branch broker bucket buffer \
    cache call channel chunk client clock cluster column command config context cursor customer data date decode default \
    deploy digest domain driver encode engine entry error event export factory feature field file filter flush folder \
    frame function gateway graph group handler header history host image import index input invoice item job journal \
    label layer level limit line link list loader local lock log mapper margin matrix member memory merge message method \
    metric model module monitor mount node number object offset option order output owner packet page parent parser path \
    payload payment period pixel plan plugin pointer policy port prefix price process profile project proxy query queue \
    range record region registry relay release render replica report request resource response result retry role route \
    rule scale schedule schema scope screen segment server session shape shard signal size slice snapshot socket source \
    stack stage state status step storage stream style subject switch symbol system table target task template tenant \
    thread ticket timer topic trace transfer tree trigger unit update upload user value vector version view volume worker";

pub const ALPHANUMERIC: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
pub const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
pub const HEX: &str = "0123456789abcdef";

/// Makes lines.
pub struct Prose {
    words: Vec<&'static str>,
}

impl Prose {
    pub fn new() -> Self {
        Self { words: WORDS.split_whitespace().collect() }
    }

    /// A word that can be part of a name.
    pub fn word(&self, random: &mut Random) -> &'static str {
        random.choose::<&str>(&self.words)
    }

    /// Several lines, each with its line feed.
    pub fn lines(&self, count: usize, random: &mut Random) -> Vec<String> {
        (0..count).map(|_| self.line(random)).collect()
    }

    /// A line with its line feed. One in 200 holds what looks like a secret, and is none.
    pub fn line(&self, random: &mut Random) -> String {
        let [a, b, c, d] = [(); 4].map(|()| self.word(random));
        let number = random.below(10_000);
        match random.below(200) {
            0 => self.near_miss(random),
            1..20 => format!("// The {a} of a {b} is the {c} that its {d} had before.\n"),
            20..50 => "}\n\n".to_owned(),
            50..80 => format!("def {a}_{b}({c}, {d}=None):\n"),
            80..110 => format!("    if {a}.{b} > {number} and not {c}.{d}():\n"),
            110..130 => format!("    let {a}_{b} = {c}.{d}({number})?;\n"),
            130..150 => format!("        return {a}({b}, {c}[{number}], {d})\n"),
            150..170 => format!("{a}.{b}.{c} = {d}-{number}\n"),
            170..185 => format!("  \"{a}_{b}\": {{ \"{c}\": {number}, \"{d}\": true }},\n"),
            _ => format!("        self.{a}.{b}(\"{c} {d} {number}\");\n"),
        }
    }

    fn near_miss(&self, random: &mut Random) -> String {
        let word = self.word(random);
        match random.below(6) {
            0 => format!("      \"integrity\": \"sha512-{}==\",\n", random.text(BASE64, 86)),
            1 => format!("revision = \"{}\"\n", random.text(HEX, 40)),
            2 => {
                let [a, b, c, d, e] = [8, 4, 4, 4, 12].map(|len| random.text(HEX, len));
                format!("{word}_id: {a}-{b}-{c}-{d}-{e}\n")
            }
            3 => format!("    password = os.environ[\"{}_PASSWORD\"]\n", word.to_uppercase()),
            4 => format!("{word}_api_key: <your-{word}-key>\n"),
            _ => format!("    {word}_token = get_token(\"{word}\", refresh=True)\n"),
        }
    }
}
