// What stands under a key: the time until which it is kept, a command's history, `;`, and the record or the mark's issue
// time.
//
// Versions without a history skip whatever stands between the number and the first `;`, so it must hold no `;`: the two
// bytes `;` and `<` are each written as `<` and a digit.

import IdempotencyStore
import RoutingContract

enum RedisValues {
    private static let separator = UInt8(ascii: ";")
    private static let escape = UInt8(ascii: "<")

    static func encode(_ record: CommandRecord, to value: inout [UInt8]) {
        value.append(decimal: record.keepUntil.milliseconds)
        if !record.history.bytes.isEmpty {
            value.append(UInt8(ascii: ","))
            appendEscaped(record.history.bytes, to: &value)
        }
        value.append(separator)
        RecordCodec.encode(record, to: &value)
    }

    static func encode(_ mark: ConversationMark, to value: inout [UInt8]) {
        value.append(decimal: mark.keepUntil.milliseconds)
        value.append(separator)
        value.append(decimal: mark.issuedAt.milliseconds)
    }

    static func command(_ value: [UInt8]?) -> BatchDecisions.Command {
        guard let value else { return BatchDecisions.Command() }
        guard let end = value.firstIndex(of: separator) else {
            return BatchDecisions.Command(problem: .unusable("a command's record is damaged"))
        }
        do throws(StoreError) {
            var record = try RecordCodec.decode(value[(end + 1)...])
            record.history = history(value[..<end])
            return BatchDecisions.Command(record)
        } catch {
            return BatchDecisions.Command(problem: error)
        }
    }

    static func history(of value: [UInt8]) -> CommandHistory { history(value.prefix { $0 != separator }) }

    /// - Parameter head: what stands before the first `;` of a command's value.
    private static func history(_ head: ArraySlice<UInt8>) -> CommandHistory {
        guard let start = head.firstIndex(of: UInt8(ascii: ",")) else { return CommandHistory() }
        return CommandHistory(bytes: unescaped(head[(start + 1)...]))
    }

    /// A pattern that these bytes alone match.
    static func literal(_ bytes: [UInt8]) -> [UInt8] {
        bytes.flatMap { "*?[]\\".utf8.contains($0) ? [UInt8(ascii: "\\"), $0] : [$0] }
    }

    private static func appendEscaped(_ plain: [UInt8], to value: inout [UInt8]) {
        var start = 0
        for index in plain.indices where plain[index] == separator || plain[index] == escape {
            value.append(contentsOf: plain[start..<index])
            value.append(escape)
            value.append(plain[index] == separator ? UInt8(ascii: "1") : UInt8(ascii: "2"))
            start = index + 1
        }
        value.append(contentsOf: plain[start...])
    }

    private static func unescaped(_ value: ArraySlice<UInt8>) -> [UInt8] {
        var plain: [UInt8] = []
        // Room for what will be noted next.
        plain.reserveCapacity(value.count + 64)
        var start = value.startIndex
        for index in value.indices.dropLast() where value[index] == escape && index >= start {
            plain.append(contentsOf: value[start..<index])
            plain.append(value[index + 1] == UInt8(ascii: "1") ? separator : escape)
            start = index + 2
        }
        plain.append(contentsOf: value[start...])
        return plain
    }

    /// A mark that cannot be read counts as none: it only spares a call that is pointless.
    static func mark(_ value: [UInt8]?) -> BatchDecisions.Mark {
        guard let value else { return BatchDecisions.Mark(nil) }
        let numbers = value.split(separator: UInt8(ascii: ";")).map { Int64(String(decoding: $0, as: UTF8.self)) }
        guard numbers.count == 2, let keepUntil = numbers[0], let issuedAt = numbers[1] else {
            return BatchDecisions.Mark(nil)
        }
        return BatchDecisions.Mark(
            ConversationMark(
                issuedAt: Timestamp(milliseconds: issuedAt), keepUntil: Timestamp(milliseconds: keepUntil)))
    }
}
