//! What is found, and what is not: the table that the page for operators tells of.

use proptest::prelude::*;

use super::*;

const LIST: &str = "\u{feff}# words of the test\nbadword\nvery bad\n小狗骗子\n法輪\nfuß # with a remark\nспам\n*scam*\n나쁜말\nなまけもの\nthai ไม่ดี\nカバ\nバカ\nλόγος\nكلب\n你坏\n";

fn filter(list: &str, action: WordAction) -> WordFilter {
    let mut words = Words::default();
    words.add(list, action).unwrap();
    words.build().unwrap()
}

/// Ways to write a word so that it is not found, and whether it is found all the same.
const EVASIONS: [(&str, bool); 58] = [
    ("a badword here", true),
    ("BadWord", true),
    ("ＢＡＤＷＯＲＤ", true),
    ("bad\u{200b}word", true),
    ("bad\u{ad}word", true),
    ("b\u{feff}a\u{2060}d\u{200d}w\u{200c}ord", true),
    ("b a d w o r d", true),
    ("b.a.d.w.o.r.d", true),
    ("b*a*d*w*o*r*d!", true),
    ("b\u{3000}a\u{3000}d\u{3000}w\u{3000}o\u{3000}r\u{3000}d", true),
    ("bádwörd", true),
    ("b\u{301}a\u{336}d\u{336}word", true),
    ("𝐛𝐚𝐝𝐰𝐨𝐫𝐝", true),
    ("ⓑⓐⓓⓦⓞⓡⓓ", true),
    ("badword.", true),
    ("\u{202e}badword\u{202c}", true),
    ("badword🙂", true),
    ("这badword那", true),
    ("very bad", true),
    ("VERY   BAD", true),
    ("very\nbad", true),
    ("verybad", true),
    ("小狗骗子", true),
    ("小狗騙子", true),
    ("这个小狗騙子啊", true),
    ("小 狗 骗 子", true),
    ("小\u{200b}狗·骗★子", true),
    ("法轮", true),
    ("法　輪", true),
    ("СПАМ", true),
    ("a scammer", true),
    ("나쁜말은", true),
    ("ナマケモノ", false),
    ("なまけもの", true),
    ("ไม่ดี", false),
    ("b\u{489}adword", true),
    ("bad\u{fe20}word", true),
    ("\u{1102}\u{1161}\u{1108}\u{1173}\u{11ab}\u{1106}\u{1161}\u{11af}", true),
    ("ハ\u{3099}カ", true),
    ("ﾊﾞｶ", true),
    ("ハカ", false),
    ("ΛΟΓΟΣ", true),
    ("FUSS", true),
    ("كَلْب", true),
    ("كـلـب", true),
    ("bad.word", true),
    ("b-adword", true),
    ("bad_word", true),
    ("a bad🙂word!", true),
    ("🅱🅰🅓word", true),
    ("very-bad", true),
    ("\u{2f804}坏", true),
    // What is no such word stays: parts of longer words, and neighbours that together look like one.
    ("badwords", false),
    ("abadword", false),
    ("bad word", false),
    ("bad, word", false),
    ("every badly", false),
    ("小狗，大骗子", false),
];

#[test]
fn every_evasion_is_found_or_not_as_the_table_says() {
    let filter = filter(LIST, WordAction::Refuse);
    for (text, is_found) in EVASIONS {
        let expected = if is_found { Verdict::Refused } else { Verdict::Clean };
        assert_eq!(filter.check(text), expected, "{text}");
    }
}

#[test]
fn a_mask_covers_the_word_alone_and_moves_nothing() {
    let filter = filter("badword\n骗子\naba\n", WordAction::Mask);
    let masked = |text: &str| match filter.check(text) {
        Verdict::Masked(masked) => masked,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(masked("a badword, BADWORD!"), "a *******, *******!");
    assert_eq!(masked("他是騙 子。"), "他是***。");
    assert_eq!(masked("𝐛𝐚𝐝𝐰𝐨𝐫𝐝"), "*".repeat(14), "two units for each of these letters");
    assert_eq!(masked("bad\u{200b}word and more"), "******** and more");
    assert_eq!(masked("a b a b a"), "*********", "words may overlap");
}

#[test]
fn the_severest_action_holds_and_no_list_says_nothing() {
    let mut words = Words::default();
    words.add("mild", WordAction::Mask).unwrap();
    words.add("worse", WordAction::Refuse).unwrap();
    let filter = words.build().unwrap();
    assert_eq!(filter.check("mild and worse"), Verdict::Refused);
    assert_eq!(filter.check("mild"), Verdict::Masked("****".into()));
    assert_eq!(Words::default().build().unwrap().check("anything"), Verdict::Clean);
}

#[test]
fn flagged_words_are_named_as_the_list_has_them_and_change_no_text() {
    let mut words = Words::default();
    words.add("Casino\nfree money\n", WordAction::Flag).unwrap();
    words.add("mild", WordAction::Mask).unwrap();
    let filter = words.build().unwrap();
    assert_eq!(filter.check("FREE  money at the c.a.s.i.n.o"), Verdict::Flagged);
    let all = filter.flagged("FREE  money at the c.a.s.i.n.o, casino");
    assert_eq!(all.into_iter().collect::<Vec<_>>(), ["Casino", "free money"]);
    assert_eq!(filter.check("a mild casino"), Verdict::Masked("a **** casino".into()));
    assert_eq!((filter.flagged("nothing").len(), filter.flags()), (0, true));
}

#[test]
fn a_line_that_is_no_word_is_named() {
    let problem = |list: &str| Words::default().add(list, WordAction::Mask).unwrap_err().to_string();
    assert_eq!(problem("good\n\n***\n"), "line 3: `***` has no letter");
    assert!(problem(&"x".repeat(WORD_BYTES_MAX + 1)).starts_with("line 1: a word has 257 bytes"));
    assert!(problem(&"x".repeat(65)).contains("at most 64"));
    let mut words = Words::default();
    words.add("  # a remark alone\r\n\r\none\r\n", WordAction::Mask).unwrap();
    assert_eq!(words.count(), 1);
}

#[test]
fn a_text_costs_what_its_length_says() {
    for (text, letters_max) in
        [("\u{fdfa}".repeat(20_480), 0), ("㍿".repeat(20_480), 4 * 20_480), ("a".repeat(61_440), 61_440)]
    {
        let folded = FoldedText::of(&text).text;
        let letters = folded.chars().count();
        assert!(letters <= letters_max && folded.len() <= 4 * text.len(), "{letters} {}", folded.len());
    }
}

proptest! {
    #[test]
    fn any_text_is_judged_and_keeps_its_length_in_utf_16(text in ".{0,200}", word in "[a-z骗子 ]{1,8}") {
        let mut words = Words::default();
        words.add(&word, WordAction::Mask).unwrap();
        let is_blank = words.count() == 0;
        let verdict = words.build().unwrap().check(&format!("{text} {word} {text}"));
        if let Verdict::Masked(masked) = verdict {
            let units = |text: &str| text.encode_utf16().count();
            prop_assert_eq!(units(&masked), 2 * units(&text) + units(&word) + 2);
        } else {
            prop_assert!(is_blank, "a word of its own is found");
        }
    }
}
