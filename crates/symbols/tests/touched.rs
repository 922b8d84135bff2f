//! What small edits touch: one row an edit.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what a helper of a test does not expect fails the test"
)]

mod invariants;

use std::time::Duration;

use muse_symbols::{Language, Limits, Part, Touched, Unread, Why, touched};

const INVOICE: &str = "\
import decimal

VAT = 19

# An invoice.
@dataclass
class Invoice:
    \"\"\"What is owed.\"\"\"

    rows: list

    def total(self):
        total = sum(self.rows)
        return total

    # In per cent.
    def rate(self):
        rate = VAT
        return rate

    def show(self):
        def row(x):
            return x
        return total


def pay(invoice):
    return invoice


def main():
    pay(None)
";

/// The names of what is touched, both ways, in one line.
fn python(old: &str, new: &str) -> String {
    let parts = |old: &str, new: &str| {
        let (old, new) = (Some(old.as_bytes()), Some(new.as_bytes()));
        match touched(old, new, Some(Language::Python), &Limits::default()) {
            Touched::Parts(parts) => parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Touched::Whole(why) => panic!("{why}"),
        }
    };
    let told = parts(old, new);
    assert_eq!(told, parts(new, old), "the other way round: {old:?} {new:?}");
    told
}

/// `INVOICE` with the only place of `old` replaced.
#[track_caller]
fn edited(old: &str, new: &str) -> String {
    assert_eq!(INVOICE.matches(old).count(), 1, "{old:?}");
    INVOICE.replace(old, new)
}

#[track_caller]
fn check(rows: &[(&str, &str, &str, &str)]) {
    for (what, old, new, expected) in rows {
        assert_eq!(python(INVOICE, &edited(old, new)), *expected, "{what}");
    }
}

#[test]
fn an_edit_touches_the_innermost_symbol() {
    check(&[
        ("a statement is changed", "return rate", "return rate / 100", "Invoice.rate"),
        (
            "a statement is added",
            "        rate = VAT\n",
            "        rate = VAT\n        rate += 1\n",
            "Invoice.rate",
        ),
        ("one is added at the end", "return rate\n", "return rate\n        more()\n", "Invoice.rate"),
        ("one is taken away", "        rate = VAT\n", "", "Invoice.rate"),
        ("in a function in a method", "return x", "return [x]", "Invoice.show.row"),
        ("a default", "pay(invoice):", "pay(invoice=None):", "pay"),
        ("the comment above", "# In per cent.", "# As a share.", "Invoice.rate"),
        ("a comment above", "def pay", "# Pays.\ndef pay", "pay"),
        ("a decorator", "@dataclass", "@dataclass(frozen=True)", "Invoice"),
        ("another decorator", "    def show", "    @property\n    def show", "Invoice.show"),
        ("the header of a class", "class Invoice:", "class Invoice(Base):", "Invoice"),
        ("a statement of a class", "rows: list", "rows: tuple", "Invoice"),
        (
            "a comment below its last method",
            "return total\n\n\n",
            "return total\n    # More.\n\n\n",
            "Invoice",
        ),
        ("one further below", "return total\n\n\n", "return total\n\n\n    # More.\n\n", "Invoice"),
        ("one at the end of that", "return total\n\n\n", "return total\n        # More.\n\n", "Invoice.show"),
        ("one more of it", "    rows: list\n", "    rows: list\n    paid: bool\n", "Invoice"),
        ("an import", "import decimal", "import decimal\nimport enum", "@top"),
        ("a statement of the module", "VAT = 19", "VAT = 7", "@top"),
        ("one at the end", "    pay(None)\n", "    pay(None)\n\n\nmain()\n", "@top"),
        (
            "two at once",
            "return rate\n\n    def show(self):",
            "return 1\n\n    def show(self, x):",
            "Invoice.rate Invoice.show",
        ),
    ]);
}

#[test]
fn a_symbol_that_comes_or_goes_touches_only_itself() {
    let rate = "    # In per cent.\n    def rate(self):\n        rate = VAT\n        return rate\n\n";
    check(&[
        ("a method goes", rate, "", "Invoice.rate"),
        ("a function goes", "def pay(invoice):\n    return invoice\n\n\n", "", "pay"),
        (
            "a method comes",
            rate,
            &format!("{rate}    def tax(self):\n        tax = VAT\n        return tax\n\n"),
            "Invoice.tax",
        ),
        (
            "it ends like the one above",
            rate,
            &format!("{rate}    def tax(self):\n        rate = VAT\n        return rate\n\n"),
            "Invoice.tax",
        ),
        (
            "it begins like the one below",
            rate,
            &format!("    # In per cent.\n    def tax(self):\n        return rate\n\n{rate}"),
            "Invoice.tax",
        ),
        (
            "at the end of a class",
            "        return total\n\n\n",
            "        return total\n\n    def last(self):\n        return total\n\n\n",
            "Invoice.last",
        ),
        (
            "at the end of the text",
            "    pay(None)\n",
            "    pay(None)\n\n\ndef more():\n    pay(None)\n",
            "more",
        ),
        ("at its beginning", "import decimal\n", "def first():\n    pass\n\n\nimport decimal\n", "first"),
        ("a class", "def main", "class More:\n    def f(self):\n        pass\n\n\ndef main", "More More.f"),
    ]);
}

#[test]
fn a_new_symbol_is_told_from_its_like() {
    let like = |name: &str| {
        format!("    @property\n    def {name}(self):\n        # Slow.\n        x = 1\n        return x\n\n")
    };
    let class =
        |names: &[&str]| format!("class A:\n{}", names.iter().map(|name| like(name)).collect::<String>());
    let old = class(&["a", "b", "c"]);
    for (names, expected) in [
        (&["x", "a", "b", "c"][..], "A.x"),
        (&["a", "x", "b", "c"], "A.x"),
        (&["a", "b", "c", "x"], "A.x"),
        (&["a", "c"], "A.b"),
        (&["b", "c"], "A.a"),
        (&["a", "x", "y", "b", "c"], "A.x A.y"),
        (&["x", "a", "b", "y", "c"], "A.x A.y"),
        // One of a name was there already.
        (&["a", "b", "b", "c"], "A.b"),
        (&["x", "b", "c"], "A.a A.x"),
    ] {
        assert_eq!(python(&old, &class(names)), expected, "{names:?}");
    }
}

#[test]
fn what_is_in_another_symbol_than_before_is_touched() {
    check(&[
        ("another name", "def pay", "def settle", "pay settle"),
        ("a longer name", "def pay", "def pay_all", "pay pay_all"),
        (
            "another name of a class",
            "class Invoice:",
            "class Bill:",
            "Bill Bill.rate Bill.show Bill.show.row Bill.total \
             Invoice Invoice.rate Invoice.show Invoice.show.row Invoice.total",
        ),
        (
            "a line parts a function in two",
            "        return rate",
            "    def more():\n        return rate",
            "Invoice.more Invoice.rate",
        ),
        (
            "a comment is no more above",
            "    # In per cent.\n",
            "    # In per cent.\n\n",
            "Invoice Invoice.rate",
        ),
        ("out of a class", "    def show", "def show", "Invoice.show Invoice.show.row show show.row"),
        (
            "into a string",
            "def pay(invoice):\n    return invoice\n",
            "\"\"\"\ndef pay(invoice):\n    return invoice\n\"\"\"\n",
            "pay @top",
        ),
    ]);
}

#[test]
fn a_declaration_of_several_names_touches_all_of_them() {
    let go = |old: &str, new: &str| {
        let texts = [old, new].map(|text| format!("package a\n\n{text}\nfunc d() {{}}\n"));
        let [old, new] = texts.each_ref().map(|text| Some(text.as_bytes()));
        match touched(old, new, Some(Language::Go), &Limits::default()) {
            Touched::Parts(parts) => parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Touched::Whole(why) => panic!("{why}"),
        }
    };
    assert_eq!(go("var a, b = 1, 2", "var a, b = 1, 3"), "a b");
    assert_eq!(go("var a, b = 1, 2", "var a, c = 1, 2"), "a b c");
    assert_eq!(go("var a, b = 1, 2", ""), "a b");
    // What stands in it stands in the first.
    let inner = "var a, b = func() { type c struct{ d int }; _ = 1 }, 2";
    assert_eq!(go(inner, &inner.replace("_ = 1", "_ = 2")), "a b");
    assert_eq!(go(inner, &inner.replace("d int", "d string")), "a.c");
}

#[test]
fn what_moves_is_touched() {
    let pay = "def pay(invoice):\n    return invoice\n\n\n";
    let moved = edited(pay, "").replace("# An invoice.", &format!("{pay}# An invoice."));
    assert_eq!(python(INVOICE, &moved), "pay");
    let total = "        total = sum(self.rows)\n        return total\n";
    let swapped = edited(total, "        return total\n        total = sum(self.rows)\n");
    assert_eq!(python(INVOICE, &swapped), "Invoice.total");
}

#[test]
fn white_space_touches_what_it_is_in() {
    check(&[
        ("indentation", "        return rate", "            return rate", "Invoice.rate"),
        ("indentation of a statement of a class", "    rows: list", "      rows: list", "Invoice"),
        ("out of a method", "        return rate", "    return rate", "Invoice Invoice.rate"),
        ("in a line", "rate = VAT", "rate  =  VAT", "Invoice.rate"),
        ("behind a line", "return rate\n", "return rate  \n", "Invoice.rate"),
        ("an empty line in a method", "rate = VAT\n", "rate = VAT\n\n", "Invoice.rate"),
        ("one among the statements of the module", "VAT = 19", "\nVAT = 19", "@top"),
        ("one between methods", "return rate\n", "return rate\n\n", ""),
        ("white space on one", "return rate\n\n", "return rate\n    \n", ""),
        ("one between functions", "    return invoice\n\n\n", "    return invoice\n\n\n\n", ""),
        ("one less", "    return invoice\n\n\n", "    return invoice\n\n", ""),
        ("one at the beginning", "import decimal", "\nimport decimal", ""),
        ("one at the end", "    pay(None)\n", "    pay(None)\n\n", ""),
        ("no end of the last line", "    pay(None)\n", "    pay(None)", "main"),
    ]);
}

#[test]
fn all_lines_that_end_otherwise_touch_all() {
    assert_eq!(
        python(INVOICE, &INVOICE.replace('\n', "\r\n")),
        "Invoice Invoice.rate Invoice.show Invoice.show.row Invoice.total main pay @top"
    );
    let windows = INVOICE.replace('\n', "\r\n");
    assert_eq!(python(&windows, &windows.replace("return rate", "return 1")), "Invoice.rate");
}

#[test]
fn odd_texts() {
    for (what, old, new, expected) in [
        ("the same", "x", "x", ""),
        ("nothing before", "", "import x\n\ndef f(): pass\n", "f @top"),
        ("only white space", "", " \n\t", ""),
        ("no end of the last line", "def f():\n  pass", "def f():\n  pass\n\ndef g():\n  pass", "g"),
        ("a byte-order mark", "def f(): pass\n", "\u{feff}def f(): pass\n", "@top"),
        ("one on both", "\u{feff}def f(): pass\n", "\u{feff}def f(): return\n", "f"),
        ("on one line", "class A: x = 1; y = 2\n", "class A: x = 1; z = 2\n", "A"),
        ("not UTF-8 in name", "def fä(): pass\n", "def fü(): pass\n", "fä fü"),
        ("two of a name", "def f(): a\ndef f(): b\n", "def f(): a\ndef f(): c\n", "f"),
        ("the first of them", "def f(): a\ndef f(): b\n", "def f(): b\n", "f"),
    ] {
        assert_eq!(python(old, new), expected, "{what}");
    }
}

#[test]
fn a_fault_hides_no_symbol_and_touches_none_but_those_at_it() {
    check(&[
        ("in a header", "def rate(self):", "def rate(self:", "Invoice.rate"),
        ("another one, which hides the method", "def show(self):", "def show self:", "Invoice.show"),
        ("in a body", "rate = VAT", "rate = (VAT", "Invoice.rate"),
        ("in a class", "rows: list", "rows: list[", "Invoice"),
        ("at the top", "VAT = 19", "VAT = (19", "@top"),
        ("a string without end", "return rate", "return \"\"\"rate", "Invoice.rate"),
        ("a bracket at the beginning", "import decimal", "import decimal\nx = (", "@top"),
        // It could be a part of either.
        ("between functions", "def main", "x = ((\n\n\ndef main", "main pay @top"),
        ("a new function with one", "def main", "def new(:\n    pass\n\n\ndef main", "main new pay @top"),
    ]);
}

#[test]
fn a_fault_elsewhere_changes_nothing() {
    let broken = |text: &str| format!("{text}\n\nx = = 1\n");
    for (old, new, expected) in [
        ("return rate", "return 1", "Invoice.rate"),
        ("def pay", "def settle", "pay settle"),
        ("def main", "def new():\n    pass\n\n\ndef main", "new"),
    ] {
        assert_eq!(python(&broken(INVOICE), &broken(&edited(old, new))), expected, "{new}");
    }
}

#[test]
fn a_file_that_cannot_be_looked_into_is_touched_whole() {
    let python = Some(Language::Python);
    let limits = Limits::default();
    let (a, b): (Option<&[u8]>, Option<&[u8]>) = (Some(b"a"), Some(b"b"));
    assert_eq!(touched(None, a, python, &limits), Touched::Whole(Why::Created));
    assert_eq!(touched(a, None, python, &limits), Touched::Whole(Why::Deleted));
    assert_eq!(touched(a, b, None, &limits), Touched::Whole(Why::NoLanguage));
    let nul: Option<&[u8]> = Some(b"a\0");
    assert_eq!(touched(a, nul, python, &limits), Touched::Whole(Why::Unread(Unread::Binary)));
    let small = Limits { bytes_max: 1, ..limits };
    let large = Unread::TooLarge { bytes: 2, bytes_max: 1 };
    assert_eq!(touched(a, Some(b"bb"), python, &small), Touched::Whole(Why::Unread(large)));
    let hurried = Limits { time_max: Some(Duration::ZERO), ..limits };
    let long = "x = [1, 2, 3]\n".repeat(10_000);
    let slow = touched(a, Some(long.as_bytes()), python, &hurried);
    assert_eq!(slow, Touched::Whole(Why::Unread(Unread::TooSlow)));
    // Of what is the same nothing is touched, whatever it is.
    assert_eq!(touched(nul, nul, None, &small), Touched::Parts(std::collections::BTreeSet::new()));
}

#[test]
fn what_a_fault_hides_depends_on_the_text_alone_and_not_on_the_other_one() {
    let java = "        class Local {\n        }\n        new Thread(() -> task.run()).start();\n    }\n";
    let method = "            int twice(int x) {{ return 2 * x; }\n        }\n";
    let new = java.replacen("        }\n", method, 1);
    let new = format!("    int map(int x) {{ return x; }}\n{new}");
    assert!(invariants::hold(java.as_bytes(), new.as_bytes(), Language::Java).is_some());
    let loops = "  label: for (const x of rest) {\n    if (x) {\n";
    let old = format!("function over(a: any) {{\n}}\n{loops}");
    let stream = "export async function* stream<T>(this: Window, ...rest: T[]) {";
    let new = format!("function over(a:\" any) {{\n{stream}\n{loops}");
    assert!(invariants::hold(old.as_bytes(), new.as_bytes(), Language::TypeScript).is_some());
}

#[test]
fn what_is_in_a_decorator_belongs_to_what_is_decorated() {
    let class = |value: &str| {
        format!("class A {{\n  @f(() => {{ function g() {{ return {value} }} return g }})\n  m() {{}}\n}}\n")
    };
    let parts = invariants::hold(class("1").as_bytes(), class("2").as_bytes(), Language::TypeScript);
    assert_eq!(parts, Some([Part::Symbol("A.m".to_owned())].into()));
}

#[test]
fn empty_lines_are_looked_at_once_however_many_of_them_change() {
    // Looked at anew for each change, they would take minutes.
    let text = |empty: &str| format!("x = 1\n{}y = 1\n", empty.repeat(100_000));
    assert_eq!(python(&text("\n\n"), &text("\n \n")), "@top");
}

#[test]
fn a_comment_at_the_end_belongs_to_no_declaration_that_nothing_ends() {
    let parts = |old: &str, new: &str| invariants::hold(old.as_bytes(), new.as_bytes(), Language::JavaScript);
    // Whether the grammar has it in the last one depends on what comes right behind that.
    for end in ["\n\n// The end.\n", "\n// The end.\n", "\n// The end.", " // The end.\n", " // The end."] {
        for declaration in ["const f = () => {}", "const f = () => <p>{x}</p>", "const f = function () {}"] {
            let text = |first: &str| format!("const {first} = 1\n\n{declaration}{end}");
            assert_eq!(parts(&text("a"), &text("b")), Some([Part::Top].into()), "{declaration}{end}");
            let other = text("a").replace("The end", "That is all");
            assert_eq!(parts(&text("a"), &other), Some([Part::Top].into()), "{declaration}{end}");
        }
    }
}
