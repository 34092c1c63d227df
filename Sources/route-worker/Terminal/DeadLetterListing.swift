// Dead letters as people and programs see them: a table, counts, a page of one.

import AMQPMessage
import DeadLetters
import Foundation
import RoutingContract
import WorkerLog

/// What `dead-letters list` prints. Pure.
struct DeadLetterListing {
    private let names: OrgNames
    private let now: Timestamp
    private let isGrouped: Bool
    private let isJSON: Bool
    private var table = Table(
        ["DEAD-LETTERED", "REQUEST ID", "ORG", "COMMAND", "OUTCOME", "FAILURE", "CODE", "REPLAY"], rightAligned: [6, 7])
    private var groups = DeadLetterGroups()
    private var lines: [String] = []
    private(set) var count = 0

    init(_ names: OrgNames, now: Timestamp, isGrouped: Bool, isJSON: Bool) {
        self.names = names
        self.now = now
        self.isGrouped = isGrouped
        self.isJSON = isJSON
    }

    mutating func add(_ letter: DeadLetter) {
        count += 1
        if isGrouped {
            groups.add(letter, names)
        } else if isJSON {
            lines.append(DeadLetterJSON.text(DeadLetterJSON.summary(letter, names)))
        } else {
            table.add([
                letter.deadLetteredAt?.rfc3339 ?? "–", letter.requestID ?? "–", letter.org.map(names.shown) ?? "–",
                letter.command ?? "–", letter.outcome ?? "–", letter.reason ?? "–", letter.code.map(String.init) ?? "",
                letter.replay > 0 ? "\(letter.replay)" : "",
            ])
        }
    }

    var text: String {
        if isGrouped { return isJSON ? groups.all.map(Self.json).joined(separator: "\n") : groupTable }
        if isJSON { return lines.joined(separator: "\n") }
        return table.isEmpty ? "" : table.rendered()
    }

    func summary(of seen: Int) -> String {
        count == seen
            ? count == 0 ? "no dead letters" : counted(count, "dead letter")
            : "\(count) of \(seen) dead letters"
    }

    private var groupTable: String {
        var table = Table(["COUNT", "OUTCOME", "FAILURE", "ORG", "OLDEST", "NEWEST", "FOR EXAMPLE"], rightAligned: [0])
        for group in groups.all {
            table.add([
                "\(group.count)", group.key.outcome ?? "–", group.key.reason ?? "–", group.key.org ?? "–",
                group.oldest?.rfc3339 ?? "–", group.newest?.rfc3339 ?? "–", group.example ?? "",
            ])
        }
        return table.isEmpty ? "" : table.rendered()
    }

    private static func json(_ group: DeadLetterGroups.Group) -> String {
        var object: [String: Any] = ["count": group.count]
        object["outcome"] = group.key.outcome
        object["reason"] = group.key.reason
        object["org"] = group.key.org
        object["oldest"] = group.oldest?.rfc3339
        object["newest"] = group.newest?.rfc3339
        object["example"] = group.example
        return DeadLetterJSON.text(object)
    }
}

/// One dead letter in full. Pure.
struct DeadLetterPage {
    let letter: DeadLetter
    let names: OrgNames

    var text: String {
        let org = letter.org.map { name in
            let shown = names.shown(name)
            return names.id(name).map { shown == $0.description ? shown : "\(shown) (\($0))" } ?? shown
        }
        var lines = [
            "\(letter.command ?? "message") \(letter.requestID ?? "without RequestId") of \(org ?? "no org")".oneLine
        ]
        func line(_ name: String, _ value: String?) {
            guard let value else { return }
            lines.append("  " + name.padding(toLength: 16, withPad: " ", startingAt: 0) + value.oneLine)
        }
        line("outcome", letter.outcome ?? "none: rejected to the broker's dead-letter exchange as it was")
        line("failure", letter.reason)
        line("error", letter.error)
        line("code", letter.code.map(String.init))
        line("HTTP", letter.httpStatus.map(String.init))
        line("calls", letter.attempts.map(String.init))
        line("replay", letter.replay > 0 ? "\(letter.replay)" : nil)
        line("worker", letter.worker)
        line("queue", letter.originQueue)
        line("received", letter.receivedAt?.rfc3339)
        line("dead-lettered", letter.deadLetteredAt?.rfc3339)
        if !letter.isComplete {
            line("incomplete", "it cannot be published again as it came: it can only be discarded")
        }
        let properties = letter.message.properties
        for (name, value) in [
            ("message id", properties.messageID), ("correlation id", properties.correlationID),
            ("reply to", properties.replyTo), ("content type", properties.contentType), ("app id", properties.appID),
        ] { line(name, value) }
        lines.append("  headers")
        for field in properties.headers.fields { lines.append("    \(field.key): \(field.value.shown)".oneLine) }
        lines.append("  body (\(letter.bodyBytes) bytes)")
        lines.append("    " + String(decoding: letter.message.body.prefix(Self.shownBytes), as: UTF8.self).oneLine)
        if letter.bodyBytes > Self.shownBytes { lines.append("    … the rest with --json") }
        return lines.joined(separator: "\n")
    }

    private static let shownBytes = 16 * 1024
}

extension FieldValue {
    /// For people.
    fileprivate var shown: String {
        switch self {
        case .void: "(nothing)"
        case .boolean(let flag): "\(flag)"
        case .int8(let number): "\(number)"
        case .uint8(let number): "\(number)"
        case .int16(let number): "\(number)"
        case .uint16(let number): "\(number)"
        case .int32(let number): "\(number)"
        case .uint32(let number): "\(number)"
        case .int64(let number): "\(number)"
        case .uint64(let number): "\(number)"
        case .float(let number): "\(number)"
        case .double(let number): "\(number)"
        case .decimal(let scale, let number): "\(number)e-\(scale)"
        case .string(let text): text
        case .malformedString(let bytes), .bytes(let bytes): "(\(bytes.count) bytes)"
        case .timestamp(let seconds): "\(seconds) s since 1970"
        case .array(let values): "[" + values.map(\.shown).joined(separator: ", ") + "]"
        case .table(let table): "{" + table.fields.map { "\($0.key): \($0.value.shown)" }.joined(separator: ", ") + "}"
        }
    }
}
