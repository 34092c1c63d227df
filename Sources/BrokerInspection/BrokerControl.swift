// `rabbitmqctl` commands as text for a shell.

import Foundation

/// Writes commands for one virtual host.
struct BrokerControl: Sendable, Hashable {
    var vhost: String

    func setPolicy(_ policy: Policy) -> String { set("set_policy", policy) }

    /// An operator policy with what is left of its definition; without anything left it goes.
    func setOperatorPolicy(_ policy: Policy) -> String {
        policy.definition.isEmpty
            ? command("clear_operator_policy", [policy.name]) : set("set_operator_policy", policy)
    }

    private func set(_ verb: String, _ policy: Policy) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Numbers, flags, texts and lists of them can always be encoded.
        let definition = (try? encoder.encode(policy.definition)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
        return command(
            verb, [policy.name, policy.pattern, definition],
            options: ["--priority", String(policy.priority), "--apply-to", policy.applyTo])
    }

    /// - Parameter ifEmpty: refuses to delete one that holds messages; quorum queues do not have that.
    func deleteQueue(_ name: String, ifEmpty: Bool) -> String {
        command("delete_queue", [name] + (ifEmpty ? ["--if-empty"] : []))
    }

    func setPermissions(_ user: String, _ permissions: Permissions) -> String {
        command("set_permissions", [user, permissions.configure, permissions.write, permissions.read])
    }

    private func command(_ verb: String, _ arguments: [String], options: [String] = []) -> String {
        (["rabbitmqctl", verb, "-p", vhost] + options + arguments).map(Self.quoted).joined(separator: " ")
    }

    /// As a word of a shell.
    static func quoted(_ text: String) -> String {
        let isPlain = !text.isEmpty && text.utf8.allSatisfy(isPlainByte)
        return isPlain ? text : "'" + text.replacing("'", with: #"'\''"#) + "'"
    }

    private static func isPlainByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
            UInt8(ascii: "/"), UInt8(ascii: ":"):
            true
        default: false
        }
    }

    /// A text as a regular expression that matches it alone.
    static func escaped(_ text: String) -> String { NSRegularExpression.escapedPattern(for: text) }
}
