// A queue as the broker has it: how it was declared, and which policies apply to it. Pure.

import AMQPMessage

/// What the broker says of a queue.
public struct QueueFacts: Sendable, Hashable {
    public var kind: QueueKind
    public var isDurable: Bool
    /// Deleted when its last consumer goes.
    public var isAutoDelete: Bool
    /// Of one connection, and deleted with it.
    public var isExclusive: Bool
    /// The arguments of its declaration, without the `x-` of their names.
    public var arguments: [String: QueueValue]
    /// `nil` where they could not be read.
    public var policies: AppliedPolicies?
    /// Whether the exchange that its dead letters go to is there; `nil` where it was not looked for.
    public var hasDeadLetterExchange: Bool?

    public init(
        kind: QueueKind, isDurable: Bool = true, isAutoDelete: Bool = false, isExclusive: Bool = false,
        arguments: [String: QueueValue] = [:], policies: AppliedPolicies? = nil,
        hasDeadLetterExchange: Bool? = nil
    ) {
        self.kind = kind
        self.isDurable = isDurable
        self.isAutoDelete = isAutoDelete
        self.isExclusive = isExclusive
        self.arguments = arguments
        self.policies = policies
        self.hasDeadLetterExchange = hasDeadLetterExchange
    }

    /// A value, and what set it.
    struct Setting: Hashable {
        var value: QueueValue
        var source: Source
    }

    enum Source: Hashable {
        case argument
        case policy(String)
        case operatorPolicy(String)
    }

    /// Every value of a key, of which the broker takes the least: limits, lengths and times.
    func all(_ key: String) -> [Setting] {
        let argument = arguments[key].map { Setting(value: $0, source: .argument) }
        let policy = policies?.own?.setting(key) { .policy($0) }
        let enforced = policies?.enforced?.setting(key) { .operatorPolicy($0) }
        return [argument, policy, enforced].compactMap(\.self)
    }

    /// The value of a key for which an argument goes over a policy: all about dead letters (RabbitMQ's `args_policy_lookup`).
    func argumentFirst(_ key: String) -> Setting? { all(key).first }

    /// The value of a key for which, on quorum queues, a policy goes over the argument: `overflow`. Operator policies
    /// cannot have it.
    func policyFirst(_ key: String) -> Setting? {
        let all = all(key)
        return all.first { $0.source != .argument } ?? all.first
    }
}

/// The type of a queue.
public enum QueueKind: Sendable, Hashable, CustomStringConvertible {
    case classic
    case quorum
    case stream
    /// Of a plug-in.
    case other(String)

    public init(_ name: String) {
        self =
            switch name {
            case "classic": .classic
            case "quorum": .quorum
            case "stream": .stream
            default: .other(name)
            }
    }

    public var description: String {
        switch self {
        case .classic: "classic queue"
        case .quorum: "quorum queue"
        case .stream: "stream"
        case .other(let name): "queue of type \(name)"
        }
    }
}

/// A value of a queue's argument, or of a policy's definition.
public enum QueueValue: Sendable, Hashable, CustomStringConvertible {
    case number(Int)
    case flag(Bool)
    case text(String)
    case list([QueueValue])

    public var description: String {
        switch self {
        case .number(let number): String(number)
        case .flag(let flag): String(flag)
        case .text(let text): text
        case .list(let list): list.map(\.description).joined(separator: ", ")
        }
    }

    var number: Int? { if case .number(let number) = self { number } else { nil } }
    var text: String? { if case .text(let text) = self { text } else { nil } }
}

extension QueueValue {
    /// A value of a declaration; `nil` for sorts that no argument of a queue has.
    init?(_ field: FieldValue) {
        switch field {
        case .boolean(let flag): self = .flag(flag)
        case .int32(let number): self = .number(Int(number))
        case .int64(let number): self = .number(Int(number))
        case .string(let text): self = .text(text)
        case .void, .int8, .uint8, .int16, .uint16, .uint32, .uint64, .float, .double, .decimal, .malformedString,
            .bytes,
            .timestamp, .array, .table:
            return nil
        }
    }
}

extension QueueValue: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let flag = try? container.decode(Bool.self) {
            self = .flag(flag)
        } else if let number = try? container.decode(Int.self) {
            self = .number(number)
        } else if let text = try? container.decode(String.self) {
            self = .text(text)
        } else {
            self = .list(try container.decode([QueueValue].self))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .number(let number): try container.encode(number)
        case .flag(let flag): try container.encode(flag)
        case .text(let text): try container.encode(text)
        case .list(let list): try container.encode(list)
        }
    }
}
