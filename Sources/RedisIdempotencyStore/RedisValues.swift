// What stands under a key: the time until which it is kept, a command's history, `;`, and the record or the mark's issue
// time.
//
// Versions without a history skip whatever stands between the number and the first `;`, so it must hold no `;`: the two
// bytes `;` and `<` are each written as `<` and a digit.

import IdempotencyStore
import RoutingContract

enum RedisValues {
    static func encode(_ record: CommandRecord) -> [UInt8] {
        var value = Array("\(record.keepUntil.milliseconds)".utf8)
        if !record.history.bytes.isEmpty {
            value.append(UInt8(ascii: ","))
            value.append(contentsOf: escaped(record.history.bytes))
        }
        value.append(UInt8(ascii: ";"))
        value.append(contentsOf: RecordCodec.encode(record))
        return value
    }

    static func encode(_ mark: ConversationMark) -> [UInt8] {
        Array("\(mark.keepUntil.milliseconds);\(mark.issuedAt.milliseconds)".utf8)
    }

    static func command(_ value: [UInt8]?) -> BatchDecisions.Command {
        guard let value else { return BatchDecisions.Command(nil) }
        guard let end = value.firstIndex(of: UInt8(ascii: ";")) else {
            return BatchDecisions.Command(problem: .unusable("a command's record is damaged"))
        }
        do throws(StoreError) {
            var record = try RecordCodec.decode(Array(value[(end + 1)...]))
            record.history = history(value[..<end])
            return BatchDecisions.Command(record)
        } catch {
            return BatchDecisions.Command(problem: error)
        }
    }

    /// - Parameter head: a command's value, at least what stands before the first `;`.
    static func history(_ head: some RandomAccessCollection<UInt8>) -> CommandHistory {
        let head = Array(head.prefix { $0 != UInt8(ascii: ";") })
        guard let start = head.firstIndex(of: UInt8(ascii: ",")) else { return CommandHistory() }
        return CommandHistory(bytes: unescaped(head[(start + 1)...]))
    }

    /// A pattern that these bytes alone match.
    static func literal(_ bytes: [UInt8]) -> [UInt8] {
        bytes.flatMap { "*?[]\\".utf8.contains($0) ? [UInt8(ascii: "\\"), $0] : [$0] }
    }

    static func escaped(_ bytes: [UInt8]) -> [UInt8] {
        var escaped: [UInt8] = []
        escaped.reserveCapacity(bytes.count + 8)
        for byte in bytes {
            switch byte {
            case UInt8(ascii: ";"): escaped += [UInt8(ascii: "<"), UInt8(ascii: "1")]
            case UInt8(ascii: "<"): escaped += [UInt8(ascii: "<"), UInt8(ascii: "2")]
            default: escaped.append(byte)
            }
        }
        return escaped
    }

    static func unescaped(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        var plain: [UInt8] = []
        plain.reserveCapacity(bytes.count)
        var isEscaped = false
        for byte in bytes {
            if isEscaped {
                plain.append(byte == UInt8(ascii: "1") ? UInt8(ascii: ";") : UInt8(ascii: "<"))
                isEscaped = false
            } else if byte == UInt8(ascii: "<") {
                isEscaped = true
            } else {
                plain.append(byte)
            }
        }
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
