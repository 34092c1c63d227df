// The bytes of one entry of a command's history.

import RoutingContract

/// Writes and reads entries: a byte for the kind, the time, then what the kind has; integers as zigzag LEB128, strings as a
/// length and UTF-8. What follows behind what this version knows is skipped, so that a later one may add to the end of an
/// entry; a kind that it does not know is told as ``HistoryEntry/Event/other(_:)``.
enum HistoryCodec {
    /// Never renumber.
    private enum Kind: UInt8 {
        case claimed = 1
        case called = 2
        case released = 3
        case ended = 4
        case seenAgain = 5
        case forgotten = 6
    }

    private struct CallFlags: OptionSet {
        var rawValue: UInt8
        static let isClearing = CallFlags(rawValue: 1)
        static let answered = CallFlags(rawValue: 2)
        static let notSent = CallFlags(rawValue: 4)
        static let code = CallFlags(rawValue: 8)
    }

    static func encode(_ entry: HistoryEntry) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(64)
        func begin(_ kind: Kind) {
            bytes.append(kind.rawValue)
            bytes.write(entry.at.milliseconds)
        }
        switch entry.event {
        case .claimed(let claim):
            begin(.claimed)
            bytes.append(claim.kind.rawValue)
            bytes.write(claim.worker)
            bytes.write(Int64(claim.replay))
            write(claim.delivery, to: &bytes)
        case .called(let call):
            begin(.called)
            write(call, to: &bytes)
        case .released(let unbound):
            begin(.released)
            bytes.append(unbound ? 1 : 0)
        case .ended(let outcome, let replay):
            begin(.ended)
            bytes.append(outcome.code)
            bytes.write(Int64(replay))
        case .seenAgain(let again):
            begin(.seenAgain)
            bytes.append(again.kind.rawValue)
            bytes.write(Int64(again.count))
            bytes.write(again.lastAt.milliseconds)
            bytes.write(again.worker)
            write(again.delivery, to: &bytes)
        case .forgotten:
            begin(.forgotten)
        case .other(let kind):
            // Only a newer version makes these; they are kept as bytes and never come here to be written.
            bytes.append(kind)
            bytes.write(entry.at.milliseconds)
        }
        return bytes
    }

    /// `nil` for bytes that are cut short or say what cannot be. Never traps.
    static func decode(_ bytes: ArraySlice<UInt8>) -> HistoryEntry? {
        var reader = ByteReader(bytes)
        guard let code = reader.readByte(), let at = reader.readInteger() else { return nil }
        let time = Timestamp(milliseconds: at)
        guard let event = readEvent(code, at: time, &reader) else { return nil }
        return HistoryEntry(at: time, event: event)
    }

    private static func readEvent(
        _ code: UInt8, at time: Timestamp, _ reader: inout ByteReader
    ) -> HistoryEntry.Event? {
        guard let kind = Kind(rawValue: code) else { return .other(code) }
        switch kind {
        case .claimed:
            guard let kind = reader.readByte().flatMap(ClaimNote.Kind.init(rawValue:)),
                let worker = reader.readString(), let replay = reader.readInt(), let delivery = readDelivery(&reader)
            else { return nil }
            return .claimed(ClaimNote(kind: kind, worker: worker, delivery: delivery, replay: replay))
        case .called:
            return readCall(&reader, startedAt: time).map { .called($0) }
        case .released:
            return reader.readByte().map { .released(unbound: $0 == 1) }
        case .ended:
            guard let outcome = reader.readByte().flatMap(Outcome.init(code:)), let replay = reader.readInt() else {
                return nil
            }
            return .ended(outcome, replay: replay)
        case .seenAgain:
            guard let kind = reader.readByte().flatMap(SeenAgain.Kind.init(rawValue:)), let count = reader.readInt(),
                let lastAt = reader.readInteger(), let worker = reader.readString(),
                let delivery = readDelivery(&reader)
            else { return nil }
            return .seenAgain(
                SeenAgain(
                    kind: kind, count: count, lastAt: Timestamp(milliseconds: lastAt), worker: worker,
                    delivery: delivery))
        case .forgotten:
            return .forgotten
        }
    }

    private static func write(_ call: CallNote, to bytes: inout [UInt8]) {
        var flags: CallFlags = []
        var status: Int?
        switch call.end {
        case .answered(let found):
            flags.insert(.answered)
            status = found
        case .notSent: flags.insert(.notSent)
        case .unanswered: break
        }
        if call.isClearing { flags.insert(.isClearing) }
        if call.code != nil { flags.insert(.code) }
        bytes.append(flags.rawValue)
        bytes.write(call.duration.wholeMilliseconds)
        bytes.write(Int64(call.refusedRequests))
        if let status { bytes.write(Int64(status)) }
        if let code = call.code { bytes.write(Int64(code)) }
        bytes.write(call.reason)
    }

    private static func readCall(_ reader: inout ByteReader, startedAt: Timestamp) -> CallNote? {
        guard let flags = reader.readByte().map(CallFlags.init(rawValue:)), let duration = reader.readInteger(),
            let refused = reader.readInt()
        else { return nil }
        var end: CallNote.End = flags.contains(.notSent) ? .notSent : .unanswered
        if flags.contains(.answered) {
            guard let status = reader.readInt() else { return nil }
            end = .answered(status: status)
        }
        var code: Int?
        if flags.contains(.code) {
            guard let value = reader.readInt() else { return nil }
            code = value
        }
        guard let reason = reader.readString() else { return nil }
        return CallNote(
            startedAt: startedAt, duration: .milliseconds(duration), isClearing: flags.contains(.isClearing), end: end,
            code: code, reason: reason, refusedRequests: refused)
    }

    /// When it was received, before or after the entry's own time, is written in full: the clocks are two.
    private static func write(_ delivery: DeliveryNote, to bytes: inout [UInt8]) {
        bytes.write(Int64(delivery.earlierDeliveries))
        bytes.append(delivery.receivedAt == nil ? 0 : 1)
        if let receivedAt = delivery.receivedAt { bytes.write(receivedAt.milliseconds) }
    }

    private static func readDelivery(_ reader: inout ByteReader) -> DeliveryNote? {
        guard let earlier = reader.readInt(), let isTimed = reader.readByte() else { return nil }
        var delivery = DeliveryNote(earlierDeliveries: earlier)
        if isTimed == 1 {
            guard let receivedAt = reader.readInteger() else { return nil }
            delivery.receivedAt = Timestamp(milliseconds: receivedAt)
        }
        return delivery
    }
}
