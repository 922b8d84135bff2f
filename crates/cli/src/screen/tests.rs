//! What is cut and taken out of texts, and that no size of the screen is too small to be drawn.

use muse_coord::watch::{Event, What};
use muse_coord::{RunId, Seen, Timestamp};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::draw::fit;
use super::model::{Key, View};
use super::{addresses, cells};

#[test]
fn texts_are_cut_to_cells_and_not_to_characters() {
    assert_eq!(fit("short", 5), "short");
    assert_eq!(fit("longer", 5), "long…");
    assert_eq!(fit("日本語", 6), "日本語");
    // Half a wide character is none.
    assert_eq!(fit("日本語", 5), "日本…");
    assert_eq!(fit("日本語", 4), "日…");
    assert_eq!((fit("ab", 1), fit("ab", 0), fit("", 0)), ("…".to_owned(), String::new(), String::new()));
}

#[test]
fn what_terminals_obey_or_disagree_on_is_taken_out() {
    assert_eq!(cells("a\u{1b}[31mb\u{202e}c\nd"), "a[31mbcd");
    assert_eq!(cells("\u{1f44d}\u{1f3fd}\u{fe0f}x\u{200b}\u{200d}y\u{feff}"), "\u{1f44d}xy");
    assert_eq!(cells("é日本"), "é日本");
}

#[test]
fn many_addresses_are_counted() {
    let list: Vec<muse_coord::Address> = ["a.py", "b.py", "c.py"].map(|text| text.parse().unwrap()).into();
    assert_eq!(addresses(&list, 3), "a.py, b.py, c.py");
    assert_eq!(addresses(&list, 2), "a.py, b.py and 1 more");
}

#[test]
fn every_size_can_be_drawn_with_every_key() {
    let now = Timestamp::from_microseconds(1_900_000_000_000_000);
    let event = Event {
        time: now,
        run_id: RunId::new("日本\u{1b}").unwrap(),
        reservation_id: None,
        addresses: vec!["データ/x.py".parse().unwrap()],
        token: None,
        ticket: None,
        what: What::GaveUp {},
    };
    let mut view = View::new(now, true);
    view.see(Seen {
        now,
        leases: vec![],
        tickets: vec![],
        events: vec![event],
        damaged: vec![],
        damaged_count: 0,
        is_cut: true,
    });
    for (columns, lines) in [(0, 0), (1, 1), (2, 1), (3, 2), (7, 3), (30, 12), (80, 24), (300, 100)] {
        let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
        for key in [
            Key::Character('?'),
            Key::Enter,
            Key::Character('s'),
            Key::Character('/'),
            Key::Character('日'),
            Key::Enter,
            Key::Bottom,
            Key::PageUp,
            Key::Escape,
        ] {
            assert!(!view.press(key));
            terminal.draw(|frame| view.draw(frame)).unwrap();
        }
    }
    assert!(view.press(Key::End) && view.press(Key::Character('q')));
}
