// How a queue was declared, from what the broker says when it is declared otherwise. Pure.

import AMQPMessage
import RouteWorker

/// Guesses how a queue that exists was declared, and learns from each refusal.
///
/// Declaring what exists changes nothing: the broker compares, and names the first argument that differs with the value
/// that it has. Told often enough, everything is known.
struct DeclareProbe {
    /// More than a queue has arguments.
    static let attempts = 40

    private(set) var isDurable = true
    private(set) var isAutoDelete = false
    private(set) var arguments: FieldTable

    init(_ queue: Topology.Queue) {
        arguments = queue.arguments
    }

    /// Takes over what the broker said.
    ///
    /// - Parameter text: of its 406, such as `inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received none but
    ///   current is the value '7' of type 'signedint'`.
    /// - Returns: false where it cannot be read.
    mutating func learn(_ text: String) -> Bool {
        if let name = Self.between("invalid arg '", "'", in: text), arguments[name] != nil {
            // No queue of its type has that.
            arguments[name] = nil
            return true
        }
        guard let name = Self.between("inequivalent arg '", "'", in: text),
            let current = text.ranges(of: " but current is ").last.map({ text[$0.upperBound...] })
        else { return false }
        switch name {
        case "durable": isDurable = current == "'true'"
        case "auto_delete": isAutoDelete = current == "'true'"
        default:
            guard name.hasPrefix("x-"), let value = Self.value(current, like: arguments[name]), arguments[name] != value
            else { return false }
            arguments[name] = value == .void ? nil : value
        }
        return true
    }

    /// What is known once a declaration was accepted.
    var facts: QueueFacts {
        let queue = Topology.Queue(name: "", role: .commands, arguments: arguments)
        return QueueFacts(
            kind: queue.declaredKind, isDurable: isDurable, isAutoDelete: isAutoDelete,
            arguments: queue.declaredArguments)
    }

    /// `none`, `the value '7' of type 'signedint'`, or of some arguments `'7'` or `'stream'`.
    ///
    /// - Parameter guess: of the type that is not said.
    private static func value(_ text: Substring, like guess: FieldValue?) -> FieldValue? {
        if text == "none" { return .void }
        guard let value = between("'", "' of type '", in: text) else {
            let isQuoted = text.count > 1 && text.first == "'" && text.last == "'"
            guard isQuoted else { return nil }
            let value = text.dropFirst().dropLast()
            if case .int32? = guess { return Int64(value).map(FieldValue.int64) }
            return .string(String(value))
        }
        if text.hasSuffix("'longstr'") { return .string(value) }
        if text.hasSuffix("'bool'") { return Bool(value).map(FieldValue.boolean) }
        return Int64(value).map(FieldValue.int64)
    }

    private static func between(_ start: String, _ end: String, in text: some StringProtocol) -> String? {
        let text = String(text)
        guard let first = text.firstRange(of: start),
            let last = text[first.upperBound...].firstRange(of: end)
        else { return nil }
        return String(text[first.upperBound..<last.lowerBound])
    }
}
