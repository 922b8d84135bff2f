//! Texts of every kind: what is put in is there, everything else stays, and taking it out gives the bytes back.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::Target;
use super::config::{Config, Ours};
use super::harness::{Place, guards, server};
use super::json::{Insertion, Json, Left, object, without_mark};
use super::text::Section;

/// Every JSON file of every harness: its hooks, strict or not, and its servers.
fn configs() -> Vec<Config> {
    let places = Target::ALL.into_iter().flat_map(|target| {
        guards(target, false).into_iter().chain(guards(target, true)).chain(server(target))
    });
    let config = |place| if let Place::Config(config) = place { Some(config) } else { None };
    places.filter_map(config).collect()
}

fn parsed(text: &str) -> Value {
    jsonc_parser::ast::Value::Object(object(without_mark(text).1).unwrap()).into()
}

/// The same in values, by other means: `None` where something has another type than it has to have, or is missing.
fn expected(before: &Value, config: &Config) -> Option<Value> {
    let mut whole = before.clone();
    if config.insertions.iter().any(|insertion| insertion.key == Some("version"))
        && whole.get("version").is_none()
        && whole.get("hooks").is_some()
    {
        return None;
    }
    for insertion in &config.insertions {
        let value = insertion.value.to_value();
        let mut at = &mut whole;
        for (depth, name) in insertion.path.iter().enumerate() {
            let is_list = depth + 1 == insertion.path.len() && insertion.key.is_none();
            let empty = if is_list { json!([]) } else { json!({}) };
            at = at.as_object_mut()?.entry(*name).or_insert(empty);
        }
        match insertion.key {
            Some(key) if insertion.path.is_empty() => {
                at.as_object_mut()?.entry(key).or_insert(value);
            }
            Some(key) => match at.as_object_mut()?.insert(key.to_owned(), value) {
                None => {}
                Some(_) => return None,
            },
            None => at.as_array_mut()?.insert(0, value),
        }
    }
    Some(whole)
}

/// Puts in, puts in again, takes out.
fn there_and_back(config: &Config, text: &str) {
    let before = parsed(text);
    let Some(expected) = expected(&before, config) else {
        config.installed(text).unwrap_err();
        assert_eq!(config.uninstalled(text), Ok(Left::Text(text.to_owned())));
        return;
    };
    let installed = config.installed(text).unwrap_or_else(|reason| unreachable!("{reason}: {text:?}"));
    assert_eq!(parsed(&installed), expected, "{text:?}");
    assert_ne!(installed, text);
    assert_eq!(config.installed(&installed).as_ref(), Ok(&installed), "{text:?}");
    assert_eq!(config.uninstalled(&installed), Ok(Left::Text(text.to_owned())), "{installed}");
}

#[test]
fn odd_texts_come_back() {
    let texts = [
        "{}",
        "{}\n",
        " {} ",
        "{ }",
        "{\n}\n",
        "{\r\n}\r\n",
        "{\t}",
        "\u{feff}{}",
        "\u{feff}{\r\n\t\"a\": 1\r\n}\r\n",
        "{ // nothing yet\n}\n",
        "{ /* nothing */ }",
        "{\"a\":1}",
        "{\"a\":1,}",
        "{ \"a\": 1 }\n",
        "{\n  \"a\": 1\n}",
        "{\n  \"a\": 1,\n}\n",
        "{\n\t\"a\": 1\n}\n",
        "{ // the settings\n  // of a\n  \"a\": 1, // one\n}\n",
        "{ /* of\n a */ \"a\": 1,\n  \"b\": 2 }\n",
        "{  \n  \"a\": 1  \n  }\n",
        "// first\n{\n    \"a\": [1,\n 2]}// last",
        "{\"hooks\":{}}",
        "{\"hooks\": {}, \"a\": 1}\n",
        "{\n  \"hooks\": {\n  }\n}\n",
        "{\n  \"hooks\": {},\n  \"version\": 1\n}\n",
        "{\n  \"version\": 1,\n  \"hooks\": {}\n}\n",
        "{\n  \"version\": 1\n}\n",
        "{\"version\":1}",
        "{\n  \"version\": 1,\n  \"hooks\": {\n    \"preToolUse\": []\n  }\n}\n",
        "{\n  \"hooks\": {\n    \"PreToolUse\": [ // mine\n    ]\n  }\n}\n",
        "{\n  \"hooks\": {\n    \"PreToolUse\": [\n      { \"matcher\": \"Bash\", \"hooks\": [] }, // keep\n    ],\n  },\n}\n",
        "{\n  \"hooks\": {\"PreToolUse\": [{\"hooks\": [{\"command\": \"x\"}]}], \"preToolUse\": [{}], \"BeforeTool\": [1]}\n}\n",
        "{\"mcpServers\":{}, \"mcp\":{\n}}",
        "{\n  \"mcpServers\": { \"other\": { \"command\": \"x\" } }, \"mcp\": { \"other\": {} }\n}\n",
        "{\"hooks\": 1, \"mcpServers\": [], \"mcp\": null}",
        "{\"hooks\": {\"PreToolUse\": {}, \"preToolUse\": \"\", \"BeforeTool\": null}, \"mcpServers\": 1, \"mcp\": 1}",
    ];
    for config in &configs() {
        for text in texts {
            there_and_back(config, text);
        }
    }
}

#[test]
fn a_file_that_was_not_there_goes_again() {
    for config in &configs() {
        let made = config.new_text(true).unwrap();
        assert_eq!(parsed(&made), expected(&json!({}), config).unwrap());
        assert_eq!(config.uninstalled(&made), Ok(Left::Nothing), "{made}");
        // One that was there and empty stays.
        let filled = config.installed("").unwrap();
        assert_eq!(parsed(&filled), parsed(&made));
        assert_eq!(config.uninstalled(&filled), Ok(Left::Text(String::new())));
    }
}

#[test]
fn what_is_no_plain_json_object_is_refused() {
    for config in &configs() {
        for text in
            ["\n", " ", "[]", "1", "{", "{\"a\":1 \"b\":2}", "{a: 1}", "{'a': 1}", "{} {}", "{\"a\": +1}"]
        {
            config.installed(text).unwrap_err();
        }
        let deep = format!("{{\"a\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        config.installed(&deep).unwrap_err();
    }
}

#[test]
fn a_name_that_is_there_twice_is_refused() {
    for config in &configs() {
        let (name, below) = (config.insertions[0].path[0], config.insertions[0].path.get(1));
        config.installed(&format!("{{\"{name}\": {{}}, \"{name}\": {{}}}}")).unwrap_err();
        if let Some(below) = below {
            let twice = format!("{{\"{name}\": {{\"{below}\": [], \"{below}\": []}}}}");
            config.installed(&twice).unwrap_err();
        }
    }
}

/// Claude Code's hooks in a text, and what a person made of it then.
fn edited(text: &str, change: impl Fn(&str) -> String) -> Left {
    let config = configs().remove(0);
    config.uninstalled(&change(&config.installed(text).unwrap())).unwrap()
}

#[test]
fn what_was_written_since_stays() {
    let text = |text: &str| Left::Text(text.to_owned());
    let nothing = configs().remove(0).new_text(true).unwrap();
    // Others' entries, before and behind ours, in our list, in our group.
    assert_eq!(
        edited("{\n  \"a\": 1\n}\n", |now| now.replace("{\n  \"hooks\"", "{\n  \"z\": 0,\n  \"hooks\"")),
        text("{\n  \"z\": 0,\n  \"a\": 1\n}\n")
    );
    let mine = "{\"hooks\": [{\"command\": \"x\"}]}";
    let with_mine =
        |now: &str| now.replace("\"SessionStart\": [", &format!("\"SessionStart\": [\n      {mine},"));
    assert_eq!(
        edited("{\n  \"a\": 1\n}\n", with_mine),
        text(&format!(
            "{{\n  \"hooks\": {{\n    \"SessionStart\": [\n      {mine}\n    ]\n  }},\n  \"a\": 1\n}}\n"
        ))
    );
    let in_group = |now: &str| now.replacen("\"hooks\": [", "\"hooks\": [{\"command\": \"x\"},", 1);
    let Left::Text(left) = edited("{\n  \"a\": 1\n}\n", in_group) else {
        unreachable!("there is more in it")
    };
    let group = json!({"matcher": "Edit|MultiEdit|Write|NotebookEdit", "hooks": [{"command": "x"}]});
    assert_eq!(parsed(&left), json!({"hooks": {"PreToolUse": [group]}, "a": 1}));
    // Comments, and another layout.
    let commented = |now: &str| now.replace("\"hooks\": {\n", "\"hooks\": {\n    // why\n");
    assert_eq!(
        edited("{\n  \"a\": 1\n}\n", commented),
        text("{\n  \"hooks\": {\n    // why\n  },\n  \"a\": 1\n}\n")
    );
    assert_eq!(
        edited("{\"a\":1}", |now| serde_json::to_string_pretty(&parsed(now)).unwrap()),
        text("{\n  \"a\": 1\n}")
    );
    let config = configs().remove(0);
    let sorted = serde_json::to_string_pretty(&parsed(&nothing)).unwrap();
    assert_eq!(config.installed(&sorted), Ok(sorted.clone()), "it is installed, in another layout");
    assert_eq!(config.uninstalled(&sorted), Ok(text("")));
    // A comment that ends with its line must not swallow what stands behind ours, be it the closing bracket.
    let last =
        nothing.replacen("{\n  \"hooks\"", "{\n  \"b\": 2, // c\n  \"hooks\"", 1).replace("\n}\n", "}");
    assert_eq!(config.uninstalled(&last), Ok(text("{\n  \"b\": 2 // c\n}")));
    let beside =
        nothing.replacen("{\n  \"hooks\"", "{ // c\n  \"hooks\"", 1).replace("\n}\n", ", \"b\": 2 }\n");
    let Left::Text(left) = config.uninstalled(&beside).unwrap() else { unreachable!("there is more in it") };
    assert_eq!(parsed(&left), json!({"b": 2}), "{left}");
}

#[test]
fn strict_is_changed_in_place() {
    for target in [Target::ClaudeCode, Target::Codex, Target::Cursor, Target::Gemini, Target::Copilot] {
        let config = |strict| match guards(target, strict).remove(0) {
            Place::Config(config) => config,
            _ => unreachable!("its hooks are in JSON"),
        };
        for text in ["{}", "{\n\t\"version\": 1,\n\t\"hooks\": {\n\t\t\"Stop\": [] // x\n\t}\n}\n"] {
            let lenient = config(false).installed(text).unwrap();
            let strict = config(true).installed(text).unwrap();
            assert_eq!(config(true).installed(&lenient).unwrap(), strict);
            assert_eq!(config(false).installed(&strict).unwrap(), lenient);
            assert_eq!(strict.matches(" --strict").count(), lenient.matches("muse coord hook").count());
            assert_eq!(lenient.matches(" --strict").count(), 0);
        }
    }
}

#[test]
fn ours_goes_below_a_comment_on_the_first_line() {
    let installed = configs().remove(0).installed("{ // mine\n  // of a\n  \"a\": 1\n}\n").unwrap();
    assert!(installed.starts_with("{ // mine\n  \"hooks\": {\n"), "{installed}");
    assert!(installed.ends_with("\n  },\n  // of a\n  \"a\": 1\n}\n"), "{installed}");
}

#[test]
fn what_could_not_be_taken_out_is_not_put_in() {
    let hook = Json::Object(vec![("command", Json::text("without the mark"))]);
    let insertions = vec![Insertion { path: vec!["hooks", "PreToolUse"], key: None, value: hook }];
    let config = Config { path: "x.json", own_folders: 0, ours: Ours::Hooks, insertions };
    for text in ["", "{}", "{\n  \"a\": 1\n}\n"] {
        assert!(config.installed(text).unwrap_err().contains("byte for byte"));
    }
    // A version that is put in alone could not be told from one that was there.
    for config in configs()
        .iter()
        .filter(|config| [".cursor/hooks.json", ".github/hooks/muse.json"].contains(&config.path))
    {
        assert!(config.installed("{\"hooks\": {}}").unwrap_err().contains("no `version`"));
    }
}

#[test]
fn anothers_server_of_our_name_stays() {
    for target in [Target::ClaudeCode, Target::Cursor, Target::Gemini, Target::Opencode] {
        let Some(Place::Config(config)) = server(target) else { unreachable!("it has one") };
        let servers = config.insertions[0].path[0];
        let text = format!("{{\"{servers}\": {{\"muse\": {{\"command\": \"other\"}}}}}}");
        assert_eq!(config.installed(&text).unwrap_err(), "`muse` is in it already");
        assert_eq!(config.uninstalled(&text), Ok(Left::Text(text.clone())));
    }
}

fn section() -> Section {
    match guards(Target::AgentsMd, false).remove(0) {
        Place::Section(section) => section,
        _ => unreachable!("it is one"),
    }
}

#[test]
fn a_section_comes_and_goes() {
    let section = section();
    for text in
        ["", "x", "x\n", "\n", "\n\n", "# A\r\n\r\nb\r\n", "a\r\nb", "a\r\nb\n", "# A\n\ntext\n\n\n", "\r\n"]
    {
        let installed = section.installed(Some(text)).unwrap();
        assert!(installed.starts_with(text) && installed.contains(section.begin), "{installed}");
        assert_eq!(section.installed(Some(&installed)).as_ref(), Ok(&installed));
        assert_eq!(section.uninstalled(&installed), Ok(Left::Text(text.to_owned())), "{installed:?}");
        let more = format!("{installed}\n\nmore\n");
        assert!(matches!(section.uninstalled(&more), Ok(Left::Text(left)) if left.ends_with("more\n")));
    }
    let made = section.installed(None).unwrap();
    assert_eq!(section.uninstalled(&made), Ok(Left::Nothing));
    let old = "a\n\n<!-- muse coord: begin -->\nas it was\n<!-- muse coord: end -->\n\nb\n";
    let now = section.installed(Some(old)).unwrap();
    assert!(
        now.starts_with("a\n\n<!-- muse") && now.ends_with("-->\n\nb\n") && !now.contains("as it was"),
        "{now}"
    );
    // Its end and ours would be the end of one line.
    assert!(section.installed(Some("a\r")).unwrap_err().contains("byte for byte"));
    for broken in ["<!-- muse coord: begin -->", "<!-- muse coord: end --><!-- muse coord: begin -->"] {
        section.installed(Some(broken)).unwrap_err();
        section.uninstalled(broken).unwrap_err();
    }
}

#[test]
fn codex_is_told_of_the_server_where_its_file_allows_it() {
    let Some(Place::Section(section)) = server(Target::Codex) else { unreachable!("it has one") };
    for text in [
        "",
        "model = \"x\"",
        "# c\n[mcp_servers.other]\ncommand = \"x\" # d\n",
        "[mcp_servers]\r\nother.command = \"x\"\r\n",
        "[a]\nb = 1\n\n\n",
    ] {
        let installed = section.installed(Some(text)).unwrap();
        assert_eq!(section.installed(Some(&installed)).as_ref(), Ok(&installed));
        assert_eq!(section.uninstalled(&installed), Ok(Left::Text(text.to_owned())));
        let found: toml::Table = installed.parse().unwrap();
        assert_eq!(found["mcp_servers"]["muse"]["command"].as_str(), Some("muse"));
    }
    for (text, reason) in [
        ("mcp_servers = { other = { command = \"x\" } }\n", "it is not TOML"),
        ("mcp_servers = 1\n", "`mcp_servers` in it is not a table"),
        ("[mcp_servers.muse]\ncommand = \"other\"\n", "`muse` is in it already"),
        ("a = \n", "it is not TOML"),
        ("a = \"\"\"\n", "it is not TOML"),
    ] {
        let refusal = section.installed(Some(text)).unwrap_err();
        assert!(refusal.starts_with(reason), "{text:?}: {refusal}");
        assert_eq!(section.uninstalled(text), Ok(Left::Text(text.to_owned())));
    }
}

/// The choices of a layout, one after the other.
struct Tape<'a>(&'a [u8], usize);

impl Tape<'_> {
    fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        let byte = self.0.get(self.1 % self.0.len().max(1)).copied().unwrap_or_default();
        self.1 += 1;
        choices[usize::from(byte) % choices.len()]
    }

    /// White space and comments.
    fn gap(&mut self, out: &mut String) {
        for _ in 0..self.choose(&[0, 0, 0, 1, 1, 2, 3]) {
            out.push_str(self.choose(&[
                " ",
                "  ",
                "\t",
                "\n",
                "\n  ",
                "\r\n",
                "\r\n\t",
                "// c\n",
                "/* } */",
                "/* a\n b */",
                "//\r\n",
                " \n",
            ]));
        }
    }

    fn write(&mut self, value: &Value, out: &mut String) {
        let (open, close, items): (_, _, Vec<(Option<&String>, &Value)>) = match value {
            Value::Object(members) => {
                ('{', '}', members.iter().map(|(key, value)| (Some(key), value)).collect())
            }
            Value::Array(elements) => ('[', ']', elements.iter().map(|value| (None, value)).collect()),
            scalar => return out.push_str(&scalar.to_string()),
        };
        out.push(open);
        for (position, (key, value)) in items.iter().enumerate() {
            self.gap(out);
            if let Some(key) = key {
                out.push_str(&Value::from(key.as_str()).to_string());
                self.gap(out);
                out.push(':');
                self.gap(out);
            }
            self.write(value, out);
            self.gap(out);
            if position + 1 < items.len() || self.choose(&[false, false, true]) {
                out.push(',');
            }
        }
        self.gap(out);
        out.push(close);
    }
}

/// Names that mean something in some of the files, and others.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "hooks",
        "version",
        "mcpServers",
        "mcp",
        "PreToolUse",
        "preToolUse",
        "BeforeTool",
        "SessionStart",
        "sessionEnd",
        "command",
        "matcher",
        "muse",
        "ä \"b\"\\",
        "x",
    ])
    .prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(json!(1)),
        Just(json!(true)),
        Just(Value::Null),
        Just(json!("")),
        Just(json!("// muse coord } ]")),
        Just(json!("é\n\t\"")),
    ];
    scalar.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((name(), inner), 0..4).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// A whole file, in which the places that matter are there more often than not.
fn file() -> impl Strategy<Value = Value> {
    let events =
        prop::collection::vec((name(), prop::collection::vec(value(), 0..3)), 0..4).prop_map(|events| {
            events.into_iter().map(|(name, list)| (name, Value::Array(list))).collect::<Value>()
        });
    let servers = prop::collection::vec((Just("other".to_owned()), value()), 0..2)
        .prop_map(|servers| servers.into_iter().collect::<Value>());
    let members = prop::collection::vec((name(), value()), 0..4);
    (members, prop::option::of(events), prop::option::of(servers)).prop_map(|(members, events, servers)| {
        let mut whole: Map<String, Value> = members.into_iter().collect();
        whole.extend(events.map(|events| ("hooks".to_owned(), events)));
        for name in ["mcpServers", "mcp"] {
            whole.extend(servers.clone().map(|servers| (name.to_owned(), servers)));
        }
        Value::Object(whole)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_comes_back(
        file in file(),
        tape in prop::collection::vec(any::<u8>(), 1..64),
        mark in any::<bool>(),
    ) {
        let mut text = if mark { "\u{feff}".to_owned() } else { String::new() };
        let mut tape = Tape(&tape, 0);
        tape.gap(&mut text);
        tape.write(&file, &mut text);
        tape.gap(&mut text);
        for config in &configs() {
            there_and_back(config, &text);
        }
    }

    #[test]
    fn any_section_comes_back(text in "([ab #\n]|\r\n){0,12}") {
        let section = section();
        let installed = section.installed(Some(&text)).unwrap();
        prop_assert_eq!(section.uninstalled(&installed), Ok(Left::Text(text)));
    }
}
