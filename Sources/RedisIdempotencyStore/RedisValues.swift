// What stands under a key: the time until which it is kept, `;`, and the record or the mark's issue time.

import IdempotencyStore
import RoutingContract

enum RedisValues {
    static func encode(_ record: CommandRecord) -> [UInt8] {
        Array("\(record.keepUntil.milliseconds);".utf8) + RecordCodec.encode(record)
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
            return BatchDecisions.Command(try RecordCodec.decode(Array(value[(end + 1)...])))
        } catch {
            return BatchDecisions.Command(problem: error)
        }
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
