use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;

use super::*;

const SECRET: &str = "s3cr&t/'w rd\"\\$é";

fn masked(secret: &str, line: &str) -> String {
    Masker::new([secret]).unwrap().mask_text(line).into_owned()
}

#[test]
fn a_value_is_hidden_wherever_it_stands() {
    assert_eq!(masked("hunter2", "hunter2 and xhunter2y, Hunter2"), "*** and x***y, Hunter2");
    assert_eq!(masked("hunter2", "nothing"), "nothing");
    assert_eq!(masked("hunter2\n", "it is hunter2."), "it is ***.");
    assert_eq!(Masker::default().mask_text("hunter2"), "hunter2");
}

#[test]
fn each_line_of_a_value_is_hidden() {
    let key = "-----BEGIN KEY-----\r\nMIIEvQ\r\nabc\r\n-----END KEY-----\n";
    for line in ["MIIEvQ", "-----END KEY-----"] {
        assert_eq!(masked(key, &format!("> {line}")), "> ***");
    }
    assert_eq!(masked(key, "abc"), "abc");
}

#[test]
fn nothing_is_left_of_secrets_that_overlap() {
    let masker = Masker::new(["abcdef", "defghi", "cdefgh"]).unwrap();
    assert_eq!(masker.mask_text("<abcdefghi>"), "<***>");
    assert_eq!(masker.mask_text("<abcdefabcdef>"), "<***>");
}

#[test]
fn base64_is_hidden_at_any_place() {
    for before in ["", "u", "us", "user:"] {
        for after in ["", "x", "xy", "\n"] {
            let encoded = STANDARD.encode(format!("{before}hunter2hunter2{after}"));
            let shown = masked("hunter2hunter2", &encoded);
            assert!(shown.contains("***"), "{encoded} became {shown}");
            // What is left says of the secret what a few bits at its ends say.
            assert!(shown.len() <= 3 + 8 + 4, "{encoded} became {shown}");
        }
    }
    let token = vec![0xfb; 200];
    let masker = Masker::new([&token]).unwrap();
    let encoded = STANDARD.encode(&token);
    for line in encoded.as_bytes().chunks(76) {
        assert_eq!(*masker.mask(line), *STARS);
    }
    assert_eq!(*masker.mask(URL_SAFE.encode(&token).as_bytes()), *STARS);
}

#[test]
fn addresses_and_quotes_are_seen_through() {
    let json = serde_json::to_string(SECRET).unwrap();
    let debug = format!("{SECRET:?}");
    for form in [
        json.trim_matches('"'),
        debug.strip_prefix('"').unwrap().strip_suffix('"').unwrap(),
        r#"s3cr&t/'\''w rd"\$é"#,
        r#"s3cr&t/'"'"'w rd"\$é"#,
        r#"s3cr\&t/\'w\ rd\"\\\$é"#,
        "s3cr%26t%2F%27w%20rd%22%5C%24%C3%A9",
        "s3cr%26t%2f%27w%20rd%22%5c%24%c3%a9",
        "s3cr%26t%2F'w%20rd%22%5C%24%C3%A9",
        "s3cr%26t%2F%27w+rd%22%5C%24%C3%A9",
        "s3cr&t/'w%20rd%22%5C$%C3%A9",
        r#"s3cr&t\/'w rd\"\\$é"#,
        r#"s3cr&t/'w rd\"\\$\u00e9"#,
    ] {
        assert_eq!(masked(SECRET, form), "***", "{form}");
    }
    assert_eq!(masked("hunter2", "68756e74657232 68756E74657232"), "*** ***");
}

#[test]
fn a_trace_of_a_shell_is_masked() {
    for shell in ["sh", "bash"] {
        let command = std::process::Command::new(shell)
            .args(["-xc", ": \"$SECRET\" x\"$SECRET\"; printf %s \"$SECRET\" | base64"])
            .env("SECRET", SECRET)
            .output();
        let Ok(output) = command else { continue };
        for said in [output.stdout, output.stderr] {
            let said = String::from_utf8(said).unwrap();
            let shown = masked(SECRET, &said);
            assert!(shown.contains("***") && !shown.contains("s3cr"), "{said} became {shown}");
        }
    }
}

#[test]
fn what_cannot_be_hidden_is_refused() {
    assert_eq!(Masker::new(["abc"]).unwrap_err(), MaskError::Short);
    assert_eq!(Masker::new(["abc \n"]).unwrap_err(), MaskError::Short);
    assert_eq!(Masker::new([vec![b'a'; MAX + 1]]).unwrap_err(), MaskError::Long { size: MAX + 1 });
    assert!(!format!("{:?}", Masker::new(["hunter2"]).unwrap()).contains("hunter2"));
}

#[test]
fn a_long_value_is_hidden_in_pieces() {
    let value: String = (0..3000).map(|number| format!("{number:05}")).collect();
    let masker = Masker::new([&value]).unwrap();
    assert!(masker.longest <= PIECE);
    assert_eq!(masker.mask_text(&format!("<{value}>")), "<***>");
}

#[test]
fn a_line_that_is_cut_cuts_no_secret() {
    let masker = Masker::new(["hunter2"]).unwrap();
    assert_eq!(masker.cut(b"short", 10), None);
    let line = |at: usize| {
        let mut line = vec![b'.'; 60];
        line[at..at + 7].copy_from_slice(b"hunter2");
        line
    };
    for at in 0..50 {
        let line = line(at);
        let cut = masker.cut(&line, 20).unwrap();
        let shown = [masker.mask(&line[..cut]), masker.mask(&line[cut..])].concat();
        assert_eq!(shown.len(), 56, "cut at {cut}");
    }
    assert_eq!(masker.cut(&b"hunter2".repeat(100), 20), None);
    assert!(masker.cut(&b"hunter2".repeat(SOLID), 20).is_some());
}

proptest! {
    #[test]
    fn no_value_is_left(secret in "[ -~]{4,40}", before in "[a-z]{0,9}", after in "[a-z]{0,9}") {
        prop_assume!(characters(secret.trim_ascii().as_bytes()) >= MIN);
        let value = secret.trim_ascii();
        let shown = masked(value, &format!("{before}{value}{after}"));
        prop_assert!(value == "***" || !shown.contains(value), "{}", shown);
    }
}
