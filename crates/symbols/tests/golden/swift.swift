// What this file is about.
import Foundation
@testable import struct Core.Money

/// Told by hand in swift.txt.
let limit = 8
var counter = 0, total = 1 // not about what follows
let (left, right) = (1, 2)

// About the computed one.
var now: Int {
    return counter
}

let double: (Int) -> Int = { x in x * 2 }

/// What is owed.
///
/// At least.
@available(macOS 13, *)
@MainActor
public struct Invoice<Row>: Equatable where Row: Hashable {
    private let rows: [Row]
    static let none = Invoice(rows: [])
    var note: String = "" {
        didSet {
            counter += 1
        }
    }

    // About the sum.
    var sum: Int {
        get { rows.count }
        set(value) {
            func hidden() {}
            counter = value
        }
    }

    lazy var table: [Int] = { [1, 2] }()

    /** Makes one. */
    init(rows: [Row]) {
        self.rows = rows
    }

    init?(named name: String) throws {
        return nil
    }

    @discardableResult
    mutating func pay(by card: String, _ amount: Int = .zero) async throws -> Int {
        func log(_ text: String) {
            print(text)
        }
        struct Scratch {
            func use() {}
        }
        let local: Int = rows.map { $0.hashValue }.count
        return local
    }

    func pay() {}

    subscript(index: Int) -> Row {
        func inside() {}
        return rows[index]
    }

    /* The operators. */
    static func == (left: Invoice, right: Invoice) -> Bool { true }
    static func < (left: Invoice, right: Invoice) -> Bool { false }
    static prefix func - (one: Invoice) -> Invoice { one }

    enum Kind: String, CaseIterable {
        case open, paid(Int)
        indirect case nested(Kind)

        var title: String { rawValue }

        static func parse(_ text: String) -> Kind? { nil }
    }

    typealias Rows = [Row]

    class Nested {
        final class Deeper {
            deinit {
                print("gone")
            }
        }
    }
}

actor Bank {
    private var accounts: [String: Int] = [:]

    nonisolated func name() -> String { "bank" }

    // About transfer.
    func transfer(_ amount: Int) async {
        await log(amount)
    }
}

/// What can be paid.
protocol Payable: AnyObject {
    associatedtype Currency: Hashable
    typealias Amount = Int

    var due: Int { get set }

    init(due: Int)

    /// Pays it.
    func pay(_ amount: Amount)
    static func make() -> Self
    subscript(index: Int) -> Int { get }
}

// MARK: - Extensions

extension Invoice: CustomStringConvertible {
    var description: String { "invoice" }

    func shown() -> String { description }
}

/// Of the kind.
private extension Invoice.Kind {
    func isOpen() -> Bool { true }
}

extension [Int] {
    func added() -> Int { reduce(0, +) }
}

extension Int? {
    func orZero() -> Int { self ?? 0 }
}

extension Payable where Currency == String {
    func refund() {}
}

prefix operator +++
infix operator <~>: Precedence

precedencegroup Precedence {
    higherThan: AdditionPrecedence
}

func <~> (left: Int, right: Int) -> Int { left }

@MainActor
func top<T>(_ value: T) -> some Equatable where T: Equatable {
    value
}

func `default`() {}

#if DEBUG
func debug() { print("debug") }
#else
func debug() {}
#endif

@freestanding(expression)
macro stringify<T>(_ value: T) -> (T, String) = #externalMacro(module: "M", type: "S")

final class Service: Base, Payable {
    override class func start() {}

    required convenience init(due: Int) {
        self.init()
    }

    /// Of the class.
    @objc
    deinit {
        stop()
    }

    private(set) var due: Int = 0 {
        willSet {}
    }

    static var shared: Service {
        Service(due: 1)
    }
}

typealias Handler = (Int) -> Void

indirect enum Tree<T> {
    case leaf
    case node(Tree, T, Tree)
    // At the end.
}

func größe() -> Int { 1 }
func first() {}; func second() {}

top(größe())
