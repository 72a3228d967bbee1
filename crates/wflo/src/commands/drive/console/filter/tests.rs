use super::*;

/// What is shown of some output, which is the same however it is cut.
fn shown(bytes: &[u8]) -> Vec<u8> {
    let (mut whole, mut cut) = (Vec::new(), Vec::new());
    Filter::default().pass(bytes, &mut whole);
    let mut filter = Filter::default();
    bytes.iter().for_each(|byte| filter.pass(&[*byte], &mut cut));
    assert_eq!(whole, cut, "{:?}", String::from_utf8_lossy(bytes));
    whole
}

fn text(text: &str) -> String {
    String::from_utf8(shown(text.as_bytes())).unwrap()
}

#[test]
fn what_interactive_programs_need_passes_as_it_is() {
    for needed in [
        "text\r\n\ttab\x08 bell\x07 – déjà vu 🎉",
        "\x1b[1;38;2;10;20;30mcolour\x1b[0m\x1b[4:3m",
        "\x1b[?1049h\x1b[?25l\x1b[2J\x1b[H\x1b[10;5Hx\x1b[K\x1b[?25h\x1b[?1049l",
        "\x1b[?1000;1006h\x1b[?2004h\x1b[?1004h\x1b[?2026h\x1b[?2026l",
        "\x1b7\x1b8\x1b(B\x1b)0\x1b=\x1b>\x1bM\x1b[3;20r\x1b[2 q\x1b[!p",
        "\x1b[6n\x1b[c\x1b[>c\x1b[>0q\x1b[?u\x1b[>1u\x1b[<u\x1b[?2026$p\x1b[>4;2m\x1b[>4m",
        "\x1b]0;a title\x07\x1b]2;another\x1b\\\x1b]11;?\x1b\\\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\",
        "\x1b]133;A\x07\x1b]9;4;1;50\x07\x1b]9;a notice\x07\x1b[22;0t\x1b[23;0t\x1b[14t",
    ] {
        assert_eq!(text(needed), needed);
    }
}

#[test]
fn what_answers_with_the_programs_own_words_does_not() {
    for hostile in [
        "\x1b]52;c;bWFsaWNpb3Vz\x07",
        "\x1b]52;c;?\x07",
        "\x1b[21t",
        "\x1b[20t",
        "\x1bP$qm\x1b\\",
        "\x1bP+q544e\x1b\\",
        "\x1bP1;1|17/636c7320\x1b\\",
        "\x1bPtmux;\x1b\x1b]52;c;eA==\x07\x1b\\",
        "\x05",
        "\x1bZ",
        "\x1b[1;1;1;1;1;1*y",
        "\x1b[1$w",
        "\x1b[x",
        "\x1b[?63;1n",
        "\x1b[&w",
        "\x1b]50;?\x07",
        "\x1b]1337;File=inline=1:AAAA\x07",
        "\x1b]7;file://host/etc\x07",
        "\x1b_Gf=100,t=f;L2V0Yy9wYXNzd2Q=\x1b\\",
        "\x1b^private\x1b\\\x1bXstart\x1b\\",
        "\x1b[5i",
        "\x1b[?5i",
        "\x1b[8;1;1t",
        "\x1b[2t",
        "\x1b[2h",
        "\x1b[12l",
        "\x1b[?2l",
        "\x1b[?3h",
        // Modes put aside and taken up again are modes that nobody has noted.
        "\x1b[?1003s",
        "\x1b[?1003r",
        // Levels of the keyboard that the person's own shell has set.
        "\x1b[<u",
        "\x1b]9;3;a title\x07",
        "\x1b]9;9;C:\\\x07",
        "\x1b]9;12\x07",
        "\x1b]0;a\x1b]52;c;eA==\x07",
    ] {
        assert_eq!(text(&format!("a{hostile}b")), "ab", "{hostile:?}");
    }
}

#[test]
fn controls_in_other_clothes_are_no_controls() {
    let replaced = |bytes: &[u8]| String::from_utf8(shown(bytes)).unwrap();
    // As one byte, as the character of that number, in a title, and cut into by another sequence.
    assert_eq!(replaced(b"a\x9b21tb\x90$qm\x9c"), "a\u{fffd}21tb\u{fffd}$qm\u{fffd}");
    assert_eq!(replaced("a\u{9b}21t\u{9d}52;c;?\u{9c}".as_bytes()), "a\u{fffd}21t\u{fffd}52;c;?\u{fffd}");
    assert_eq!(replaced("a\x1b]0;x\u{9c}\u{9b}21t\x07b".as_bytes()), "ab");
    assert_eq!(replaced(b"a\xc2\x1b[21tb\xf4\x90\x80\x80c\xed\xa0\x80"), "a\u{fffd}b\u{fffd}c\u{fffd}");
    assert_eq!(text("a\x1b[21\x1b[1mtb"), "a\x1b[1mtb");
    assert_eq!(text("a\x1b[2\x05\x071tb"), "ab");
    assert_eq!(text("a\x1b[2\x181tb\x1b]52;c;\x1aeA==\x07c"), "a1tbeA==\x07c");
}

#[test]
fn what_has_no_end_is_not_gathered_for_ever() {
    let mut filter = Filter::default();
    let mut out = Vec::new();
    filter.pass(b"\x1b]0;", &mut out);
    for _ in 0..100 {
        filter.pass(&[b'x'; 1 << 10], &mut out);
        assert!(filter.held.len() <= STRING);
    }
    filter.pass(b"\x07\x1b[", &mut out);
    filter.pass(&[b'1'; 1 << 12], &mut out);
    assert!(filter.held.len() <= CONTROL && out.iter().all(|byte| *byte == b'1'), "{out:?}");
}

/// What takes back what a program has shown, and what gives it back.
fn around(shown: &str) -> (String, String) {
    let mut filter = Filter::default();
    filter.pass(shown.as_bytes(), &mut Vec::new());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(filter.suspend()), text(filter.resume()))
}

#[test]
fn a_question_finds_a_plain_terminal_and_the_program_its_own_again() {
    assert_eq!(around("text\r\n"), Default::default(), "text has set nothing");
    let (suspend, resume) =
        around("\x1b[?25l\x1b[?1049h\x1b[?1000;2004h\x1b[>1u\x1b[=4;2u\x1b[?2004l\x1b[>4;2m\x1b[2 q");
    for part in ["\x1b[?1000l", "\x1b[?25h", "\x1b[?1049l", "\x1b[>4;0m", "\x1b[0 q"] {
        assert!(suspend.contains(part), "{part:?}: {suspend:?}");
    }
    let other = "\x1b[?1049h\x1b[<u\x1b[=0u\x1b[?1049l";
    assert!(suspend.rfind(other) > suspend.find("\x1b[?1049l"), "each keyboard on its screen: {suspend:?}");
    assert_eq!(resume, "\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b[>4;1m\x1b[>5u");
    let (_, resume) = around("\x1b[?1049h\x1b[?25l\x1b[>1u\x1b[<u\x1b[?25h\x1b[?1049l");
    assert_eq!(resume, "");
}

#[test]
fn what_hides_a_question_is_taken_back_whatever_is_known_of_it() {
    let plain =
        ["\x1b[!p", "\x1b[r", "\x1b[0m", "\x1b[4l", "\x1b[20l", "\x0f", "\x1b(B", "\x1b[?1003l", "\x1b[?25h"];
    for hides in [
        "\x1b[39;40r",
        "\x1b(0",
        "\x0e",
        "\x1b[4h",
        "\x1b[20h",
        "\x1b[8m",
        // A soft reset leaves the mouse on, a whole one may leave more than is known.
        "\x1b[?1003h\x1b[!p",
        "\x1b[?1003h\x1bc",
    ] {
        let (suspend, _) = around(hides);
        for part in plain {
            assert!(suspend.contains(part), "{hides:?}, {part:?}: {suspend:?}");
        }
        assert!(!suspend.contains("\x1b[?1049l"), "that would move the cursor: {suspend:?}");
        assert!(suspend.contains("\x1b7\x1b[r\x1b8"), "so would margins: {suspend:?}");
    }
    for keys in ["\x1b[=31;1u", "\x1b[?1049h\x1b[=31u\x1b[?47l", "\x1b[=31u\x1bc"] {
        assert_eq!(around(keys).0.matches("\x1b[=0u").count(), 2, "both screens: {keys:?}");
    }
    for colours in ["\x1b]10;#000\x07", "\x1b]4;3;#000\x07", "\x1b]10;?;#000\x07", "\x1b]4;1;?;2;#000\x1b\\"]
    {
        let (suspend, _) = around(colours);
        for number in [104, 110, 111, 112] {
            assert!(suspend.contains(&format!("\x1b]{number}\x1b\\")), "{colours:?}: {suspend:?}");
        }
    }
    for asked in ["\x1b]10;?\x07", "\x1b]4;3;?\x07"] {
        assert!(!around(asked).0.contains("\x1b]104"), "a person's own colours stay: {asked:?}");
    }
    assert!(around("\x1b]8;;https://a.example\x07").0.contains("\x1b]8;;\x1b\\"));
}

#[test]
fn whatever_comes_only_whole_and_known_sequences_pass() {
    // Bytes that matter, in every order that a small generator makes of them.
    let alphabet = b"\x1b[]P_\\\x07;?>$21520nthmc\x9b\xc2x\x18\x05";
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..24)
            .map(|_| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                alphabet[(seed % alphabet.len() as u64) as usize]
            })
            .collect();
        let once = shown(&bytes);
        assert_eq!(shown(&once), once, "what has passed passes again: {bytes:?}");
        assert!(!once.contains(&0x05) && !once.windows(2).any(|pair| pair == b"\x1bP" || pair == b"\x1b_"));
    }
}
