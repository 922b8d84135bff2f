//! Reservation ids, run ids, tokens and lifetimes, as arguments and records hold them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use muse_coord::{ReservationId, RunId, Token, TtlSeconds};

fuzz_target!(|text: &str| {
    if let Ok(id) = text.parse::<ReservationId>() {
        assert_eq!(id.to_string(), text, "an id has one spelling");
        assert_eq!(id.hex().len(), 64);
        assert!(text.is_ascii() && text.len() == ReservationId::PREFIX.len() + 64);
    }

    match RunId::new(text) {
        Ok(run) => {
            assert_eq!(run.as_str(), text);
            assert_eq!(run.to_string(), text);
            assert!((1..=RunId::CHARACTERS_MAX).contains(&text.chars().count()));
            let json = serde_json::to_string(&run).expect("it has a JSON form");
            assert_eq!(serde_json::from_str::<RunId>(&json).expect("its JSON is taken"), run);
            assert!(run.descends_from(&run));
            for (end, _) in text.match_indices('/') {
                if let Ok(above) = RunId::new(&text[..end]) {
                    assert!(run.descends_from(&above) && !above.descends_from(&run));
                }
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }

    let number = text.parse::<u64>().ok();
    let token = serde_json::from_str::<Token>(text);
    if let Ok(token) = token {
        assert!((1..=Token::MAX).contains(&token.get()));
        assert_eq!(Token::new(token.get()), Some(token));
        assert_eq!(serde_json::to_string(&token).expect("it has a JSON form"), token.to_string());
    }
    if let Some(number) = number {
        assert_eq!(Token::new(number).is_some(), (1..=Token::MAX).contains(&number));
        let last = Token::new(number);
        for milliseconds in [0, number, u64::MAX - number, u64::MAX] {
            match Token::next(last, milliseconds) {
                Some(next) => assert!(last.is_none_or(|last| next > last)),
                None => assert_eq!(last.map(Token::get), Some(Token::MAX)),
            }
        }
    }
    if let Ok(ttl) = serde_json::from_str::<TtlSeconds>(text) {
        assert!((1..=TtlSeconds::MAX).contains(&ttl.get()));
        assert_eq!(TtlSeconds::new(i64::from(ttl.get())), Ok(ttl));
    }
});
